"""Edits of weights and channels: by replay, by whole passes and on copies as by hand."""

import copy
import pickle
from dataclasses import replace
from functools import partial

import networks
import numpy as np
import pytest
import torch
from cutting import cut
from torch import nn

from lesion.engine.base import Cut
from lesion.engine.replay import Replay
from lesion.engine.whole import Whole
from lesion.lesions.edits import Channels, Weight, channels
from lesion.lesions.lesion import Lesion, Target
from lesion.lesions.mended_edit import Mended
from lesion.network.dissect import dissect
from lesion.network.graph import Call
from lesion.sweeps.whole_network import Copies


def rounded(weight, bits):
    """So many steps, the largest weight at the end."""
    scale = weight.abs().max() / (2 ** (bits - 1) - 1)
    return torch.round(weight / scale) * scale


class Mixed(nn.Module):
    """Layers whose weights lie in every way, with and without a batch norm behind them."""

    shape = (3, 8, 8)

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.up, self.deep = nn.ConvTranspose2d(6, 4, 2, 2), nn.Conv2d(4, 4, 3, groups=4)
        self.twice, self.fc = nn.Conv2d(4, 4, 1), nn.Linear(4, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        x = torch.relu(self.deep(torch.relu(self.up(x))))
        x = torch.relu(self.twice(torch.relu(self.twice(x))))
        return self.fc(x.mean((2, 3)))


LAYERS = ("first", "up", "deep", "twice", "fc")


@pytest.fixture(scope="module")
def opened():
    """A network in float64, its images, and itself traced."""
    torch.manual_seed(0)
    x = torch.randn(6, *Mixed.shape)
    network, x = networks.spread(Mixed(), x).double().eval(), x.double()
    with torch.no_grad():
        return network, x, dissect(network, lambda net, batch: net(batch), x[:2])


def lesion(layer, bits):
    return Lesion(layer, "layer", "", bits, 0, 0, "quantise")


def edits(dissection, bits=(8, 3, 2)):
    """The weight of each layer in so many bits."""
    return {
        lesion(name, width): Weight.of(dissection, name, partial(rounded, bits=width), str(width))
        for name in LAYERS
        for width in bits
    }


@torch.no_grad()
def by_hand(network, layer, bits, x):
    other = copy.deepcopy(network)
    weight = other.get_submodule(layer).weight
    weight.copy_(rounded(weight, bits))
    return other(x)


@torch.no_grad()
@pytest.mark.parametrize("fold", [True, False])
def test_a_changed_weight_gives_what_the_changed_network_gives(opened, fold):
    network, x, dissection = opened
    made = edits(dissection)
    outputs = dict(Replay(dissection, fold=fold).run((x,), {k: Cut(e) for k, e in made.items()}))
    for key in made:
        wanted = by_hand(network, key.target, int(key.amount), x)
        effect = float((wanted - outputs[None]).abs().max())
        assert effect > 0
        assert float((outputs[key] - wanted).abs().max()) < 1e-9 * max(effect, 1e-3)


@torch.no_grad()
def test_amounts_of_one_layer_are_never_taken_for_each_other(opened):
    _, x, dissection = opened
    engine, made = Replay(dissection), edits(dissection)
    together = dict(engine.run((x,), {key: Cut(edit) for key, edit in made.items()}))
    for key, edit in made.items():
        alone = dict(engine.run((x,), {key: Cut(edit)}))[key]
        assert torch.equal(together[key], alone)
    assert len({edit.key for edit in made.values()}) == len(made)


@torch.no_grad()
def test_some_rows_of_a_changed_weight(opened):
    _, x, dissection = opened
    engine, rows = Replay(dissection, most=2), np.array([0, 2, 5])
    for key, edit in edits(dissection, (2,)).items():
        whole = dict(engine.run((x,), {key: Cut(edit)}))[key]
        part = dict(engine.run((x,), {key: Cut(edit, rows)}))[key]
        assert torch.allclose(part, whole[rows], atol=1e-12)


@torch.no_grad()
def test_whole_passes_and_copies_have_the_changed_weight(opened):
    network, x, dissection = opened
    whole, copies = Whole(dissection), Copies(dissection)
    for key, edit in edits(dissection, (2,)).items():
        wanted = by_hand(network, key.target, 2, x)
        assert whole.obstacle(edit) == ""
        assert torch.equal(dict(whole.run((x,), {key: Cut(edit)}))[key], wanted)
        assert torch.equal(copies.copy(edit)(x), wanted)
    assert torch.equal(whole.outputs((x,)), network(x))


@torch.no_grad()
def test_a_weight_that_the_modules_do_not_hold_is_an_obstacle():
    torch.manual_seed(0)
    network, data = networks.plain(4)
    nn.utils.parametrizations.weight_norm(network.b)
    dissection = dissect(network, lambda net, batch: net(batch), data.tensors[0])
    edit = Weight.of(dissection, "b", partial(rounded, bits=2), "2")
    assert Copies(dissection).obstacle(edit) == "hooks cannot cut its channels at b.weight"


def test_another_shape_is_refused(opened):
    _, x, dissection = opened
    edit = Weight.of(dissection, "fc", lambda weight: weight[:2], "fewer")
    with pytest.raises(ValueError, match=r"Expected a weight of \(5, 4\) in place of fc.weight"):
        list(Replay(dissection).run((x,), {lesion("fc", 2): Cut(edit)}))


@torch.no_grad()
def test_edits_mean_the_same_after_a_journey(opened):
    _, x, dissection = opened
    gone = np.zeros(dissection.anatomy.channels, bool)
    gone[list(dissection.anatomy.made_by("first")[:2])] = True
    first = Lesion("first", "free", "l1", 1 / 3, 2, 6)
    made = {**edits(dissection, (2,)), first: channels(dissection, first.at, gone)}
    outputs = dict(Replay(dissection).run((x,), {key: Cut(edit) for key, edit in made.items()}))
    for key, edit in made.items():
        again = pickle.loads(pickle.dumps(edit))
        assert (again.key, again.nodes) == (edit.key, edit.nodes)
        other = dissect(copy.deepcopy(opened[0]), lambda net, batch: net(batch), x[:2])
        assert torch.equal(dict(Replay(other).run((x,), {key: Cut(again)}))[key], outputs[key])


def test_keys_of_channels_tell_targets_and_labels_apart(opened):
    _, _, dissection = opened
    engine = Replay(dissection)
    gone = np.zeros(dissection.anatomy.channels, bool)
    keys = []
    for unit in dissection.anatomy.units:
        if unit.kind != "tied":
            for count in (1, 2):
                fallen = gone.copy()
                fallen[unit.first : unit.first + count] = True
                name = Lesion(unit.name, unit.kind, "l1", count / 10, count, unit.channels)
                keys.append(cut(engine, name, fallen).edit.key)
                assert cut(engine, replace(name, criterion="l2"), fallen).edit.key == keys[-1]
    assert len(set(keys)) == len(keys) > 2
    assert Channels((), gone).key != channels(dissection, Target("first", "free"), gone).key


def test_keys_of_parameters_tell_values_apart_and_not_their_layouts(opened):
    _, _, dissection = opened
    gone = np.zeros(dissection.anatomy.channels, bool)
    none = channels(dissection, Target("first", "free"), gone)
    plain = torch.arange(32.0).reshape(8, 4, 1, 1)
    odd = torch.empty_strided((8, 4, 1, 1), (4, 1, 64, 64)).copy_(plain)  # as einsum makes them
    first, second, third = (
        Mended(none).having(dissection, {"x": each}).key for each in (plain, odd, plain + 1)
    )
    assert first == second != third


def test_what_is_held_stays_however_the_copy_is_trained(opened):
    network, x, dissection = opened
    gone = np.zeros(dissection.anatomy.channels, bool)
    gone[list(dissection.anatomy.made_by("first")[:2])] = True
    with torch.no_grad():
        whole = Whole(dissection)
    other = copy.deepcopy(network)
    edit = channels(dissection, Target("first", "free"), gone)
    made = whole.edited(Call(other, dissection.call.adapted, x[:2]), edit)
    sgd = torch.optim.SGD(other.parameters(), 0.1)
    for _ in range(2):
        other(x).square().sum().backward()
        sgd.step()
    with torch.no_grad():
        made.outputs((x,))
    assert not other.up.weight[:2].any() and other.up.weight[2:].any()


def test_a_weight_that_is_kept_is_made_once(opened):
    _, x, dissection = opened
    calls = []

    def change(weight):
        calls.append(1)
        return rounded(weight, 2)

    once = Weight.of(dissection, "first", change, "2", keep=True)
    engine = Replay(dissection)
    with torch.no_grad():
        outputs = [dict(engine.run((x,), {"a": Cut(once)}))["a"] for _ in range(3)]
        each = Weight.of(dissection, "first", partial(rounded, bits=2), "2")
        assert all(torch.equal(o, dict(engine.run((x,), {"a": Cut(each)}))["a"]) for o in outputs)
    assert len(calls) == 1
    weight = dissection.graph.parameters["first.weight"]
    with torch.no_grad():
        weight.mul_(2)
        once.steps(engine.program)
        assert len(calls) == 2
        weight.div_(2)
    kept = Weight.of(dissection, "first", partial(rounded, bits=2), "2", keep=True)
    kept.steps(engine.program)
    assert len(pickle.dumps(kept)) < 1000


def test_an_edit_that_changes_nothing_is_idle(opened):
    _, _, dissection = opened
    weight = dissection.graph.parameters["first.weight"]
    assert Weight.of(dissection, "first", torch.clone, "same").idle(weight)
    assert not Weight.of(dissection, "first", partial(rounded, bits=8), "8").idle(weight)
