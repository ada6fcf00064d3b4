"""Bypasses: what tells them apart, a journey, and what whole passes cannot do."""

import copy
import pickle

import pytest
import torch
from networks import spread
from small_networks import conv, fc
from torch import nn
from torch.nn import functional as F

from lesion.engine.base import Cut
from lesion.engine.replay import Replay
from lesion.engine.whole import Whole
from lesion.lesions.bypass import Bypass
from lesion.network.dissect import dissect
from lesion.network.graph import Call


class Residual(nn.Module):
    """A block that ends in a norm, one that ends in a layer, one that ends in a gate."""

    def __init__(self):
        super().__init__()
        self.stem, self.fc = conv(3, 4), fc(4)
        self.a, self.norm = conv(4, 4), nn.BatchNorm2d(4)
        self.b, self.c = conv(4, 4), conv(4, 4)
        self.gate = conv(4, 4, 1)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = F.relu(x + self.norm(self.a(x)))
        x = x + F.relu(self.b(x)).transpose(2, 3)
        x = x + self.c(x).exp() * torch.sigmoid(self.gate(x))
        return self.fc(x.mean((2, 3)))


@pytest.fixture(scope="module")
def opened():
    torch.manual_seed(0)
    x = torch.randn(6, 3, 8, 8)
    network, x = spread(Residual(), x).double().eval(), x.double()
    with torch.no_grad():
        return network, x, dissect(network, lambda net, batch: net(batch), x[:2])


@torch.no_grad()
def by_hand(network, x, gone):
    """Without the blocks that are named."""
    x = F.relu(network.stem(x))
    x = F.relu(x if "a" in gone else x + network.norm(network.a(x)))
    x = x if "b" in gone else x + F.relu(network.b(x)).transpose(2, 3)
    x = x if "c to gate" in gone else x + network.c(x).exp() * torch.sigmoid(network.gate(x))
    return network.fc(x.mean((2, 3)))


@torch.no_grad()
@pytest.mark.parametrize("fold", [True, False])
def test_several_blocks_are_gone_at_once(opened, fold):
    network, x, dissection = opened
    sets = [("a",), ("b",), ("c to gate",), ("a", "b"), ("c to gate", "a"), ("a", "b", "c to gate")]
    edits = {names: Bypass.of(dissection, names) for names in sets}
    engine = Replay(dissection, fold=fold)
    outputs = dict(engine.run((x,), {names: Cut(edit) for names, edit in edits.items()}))
    for names in sets:
        torch.testing.assert_close(outputs[names], by_hand(network, x, names))
        assert not torch.allclose(outputs[names], outputs[None], rtol=1e-3)
    assert len({edit.key for edit in edits.values()}) == len(sets)
    assert Bypass.of(dissection, ("a", "c to gate")).key == edits["c to gate", "a"].key


@torch.no_grad()
def test_a_bypass_means_the_same_after_a_journey(opened):
    _, x, dissection = opened
    edit = Bypass.of(dissection, ("b",))
    again = pickle.loads(pickle.dumps(edit))
    assert (again.key, again.nodes, again.ends) == (edit.key, edit.nodes, edit.ends)
    outputs = dict(Replay(dissection).run((x,), {"b": Cut(again)}))
    assert torch.equal(outputs["b"], dict(Replay(dissection).run((x,), {"b": Cut(edit)}))["b"])


@torch.no_grad()
def test_whole_passes_end_a_branch_in_zeros_or_say_where_they_cannot(opened):
    network, x, dissection = opened
    whole = Whole(dissection)
    for name, ends in (("a", ("norm.weight", "norm.bias")), ("b", ("b.weight", "b.bias"))):
        edit = Bypass.of(dissection, (name,))
        assert (edit.ends, whole.obstacle(edit)) == ((ends,), "")
        ((_, output),) = whole.run((x,), {name: Cut(edit)}, intact=False)
        torch.testing.assert_close(output, by_hand(network, x, (name,)))
    gated = Bypass.of(dissection, ("a", "c to gate"))
    assert gated.obstacle(whole.readers) == "the sum in the network"


def test_zeros_are_held_however_the_copy_is_trained(opened):
    network, x, dissection = opened
    with torch.no_grad():
        whole = Whole(dissection)
    other = copy.deepcopy(network)
    edit = Bypass.of(dissection, ("a", "b"))
    made = whole.edited(Call(other, dissection.call.adapted, x[:2]), edit)
    sgd = torch.optim.SGD(other.parameters(), 1e-4)
    for _ in range(2):
        other(x).square().mean().backward()
        sgd.step()
    assert other.norm.bias.any()  # the last step has moved it
    with torch.no_grad():
        torch.testing.assert_close(made.outputs((x,)), by_hand(other, x, ("a", "b")))


@torch.no_grad()
def test_a_weight_that_is_used_elsewhere_ends_no_branch():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.a, self.fc = conv(3, 4), conv(4, 4), fc(4)

        def forward(self, x):
            x = F.relu(self.stem(x))
            return self.fc((x + self.a(F.relu(self.a(x)))).mean((2, 3)))

    x = torch.randn(2, 3, 8, 8)
    dissection = dissect(Tied().eval(), lambda net, batch: net(batch), x)
    assert Bypass.of(dissection, ("a",)).ends == ((),)
