"""The pruned network itself: a copy whose tensors are sliced and whose outputs are checked."""

import copy
from dataclasses import replace

import allocations
import pytest
import removal
import torch
from slicing import shrink
from small_networks import Net, conv, fc
from states import same, values
from torch import nn

from lesion.errors import LesionError
from lesion.exports import pruned
from lesion.exports.pruned import apply


def test_a_copy_without_what_falls(case, rates):
    network = copy.deepcopy(case.network).train()
    network.b.eval()
    network.a.bias.requires_grad_(True)
    before = values(network)
    small = apply(rates, network, case.x)
    assert same(values(network), before)
    assert [module.training for module in small.modules()] == [
        module.training for module in network.modules()
    ]
    assert [parameter.requires_grad for parameter in small.parameters()] == [
        parameter.requires_grad for parameter in network.parameters()
    ]
    expected = shrink(case.network, case.dissection.anatomy, rates.dropped(case.dissection.anatomy))
    assert same(values(small), values(expected))
    assert torch.equal(small.eval()(case.x), expected(case.x))


@pytest.mark.parametrize("name", allocations.networks())
def test_what_is_applied_is_what_slicing_by_hand_gives(name):
    case = removal.small(name)
    given = allocations.mixed(case.dissection)
    small = apply(given, case.network, case.x)
    dropped = given.dropped(case.dissection.anatomy)
    expected = shrink(case.network, case.dissection.anatomy, dropped)
    assert same(values(small), values(expected))
    assert repr(small) == repr(expected)  # out_channels, num_features and the like
    assert torch.allclose(small(case.x), expected(case.x), atol=1e-12)
    assert sum(p.numel() for p in small.parameters()) == given.pruned.parameters


def test_channels_last_stays_so(case, rates):
    network = copy.deepcopy(case.network).to(memory_format=torch.channels_last)
    for whole, wanted in ((network, torch.channels_last), (case.network, torch.contiguous_format)):
        small = apply(rates, whole, case.x)
        weights = [parameter for parameter in small.parameters() if parameter.dim() == 4]
        assert weights and all(
            parameter.is_contiguous(memory_format=wanted) for parameter in weights
        )
        assert any(
            parameter.shape[1] > 1 and parameter.shape[2] > 1 for parameter in weights
        )  # else both hold
    assert sum(parameter.numel() for parameter in small.parameters()) == rates.pruned.parameters


def test_a_forward_that_holds_numbers_of_channels_is_seen_when_it_is_taken_apart():
    def step(n, x):
        out = n.a(x)
        return n.b(out * out.new_ones(1, 8, 1, 1))

    case = removal.case(Net(step, a=conv(3, 8), b=conv(8, 4), fc=fc(4)), 3, 6, 6)
    unit = case.dissection.anatomy.unit["a"]
    assert unit.kind == "free"  # it can be lesioned
    assert unit.held.startswith(
        "its number of channels is held by Net, which fails without some of them (Attempting to "
        "broadcast a dimension of length 8 at -3!"
    )
    rates = allocations.by_channels(case.dissection.anatomy, {"a": [0]})
    with pytest.raises(LesionError, match=r"but a cannot be made smaller \(its number of channels"):
        apply(rates, case.network, case.x)


class Halves(nn.Module):
    """Halves its channels by their number, or where it is exported by a number that it keeps; the
    other number counts heads."""

    def __init__(self):
        super().__init__()
        self.a, self.half, self.heads = conv(3, 8), 4, 2
        self.kept = [torch.zeros(2), torch.zeros(3)]  # a list that is no list of numbers
        self.exported = False

    def forward(self, x):
        x = self.a(x)
        first, second = x.split((self.half, self.half), 1) if self.exported else x.chunk(2, 1)
        return torch.cat([second, first], 1)


def test_numbers_follow_that_another_forward_reads():
    network = Net(lambda n, x: n.b(n.halves(x)), halves=Halves(), b=conv(8, 4), fc=fc(4))
    case = removal.case(network, 3, 6, 6)
    rates = allocations.by_channels(case.dissection.anatomy, {"halves.a": [0, 3, 4, 7]})
    small = apply(rates, case.network, case.x)
    assert (small.halves.half, small.halves.heads) == (2, 2)
    before = small(case.x)
    small.halves.exported = True
    assert torch.equal(small(case.x), before)


def test_a_network_that_answers_otherwise_is_noticed(case, rates, monkeypatch):
    real = pruned.Slices.cut

    def cut(self, network):
        real(self, network)
        network.f.weight.data = network.f.weight.data.roll(1, 1)

    monkeypatch.setattr(pruned.Slices, "cut", cut)
    with pytest.raises(LesionError, match=r"contribute nothing, but its outputs differ by .* of"):
        apply(rates, case.network, case.x)


def test_the_rates_of_another_network(case, rates):
    other = replace(rates, rates=(replace(rates.rates[0], unit="stem"),))
    with pytest.raises(LesionError, match="but it has no unit stem"):
        apply(other, case.network, case.x)
