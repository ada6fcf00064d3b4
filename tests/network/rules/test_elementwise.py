"""Elementwise operations: which labels fall together, and what they are to each other."""

import numpy as np
import pytest
import removal
import torch
from anatomies import anatomy, labels, mixing, net, planted
from cutting import cut
from small_networks import Net, conv, fc
from torch import Tensor, nn
from torch.nn import functional as F

from lesion.lesions.targets import targets


def test_the_halves_of_a_gate_fall_together():
    for name in ("gated_halves", "gated_linear_unit"):
        made = labels(planted(name), "a")
        assert made[:6] == made[6:]


def test_parameters_of_its_own_follow_the_channels():
    traced = planted("own_parameters")
    assert list(traced.parameter["scale.weight"].axes[0]) == labels(traced, "a")
    assert list(traced.parameter["offset.weight"].axes[1]) == labels(traced, "a")


def test_the_slopes_of_a_parametric_relu_follow_the_channels_and_a_single_one_does_not():
    traced = planted("parametric_relu")
    assert list(traced.parameter["b.weight"].axes[0]) == labels(traced, "a")
    assert traced.parameter["d.weight"].axes == {}


def test_an_outer_product_ties_the_channels_that_it_multiplies_out():
    def step(n: nn.Module, x):
        first, second = n.a(x).mean((2, 3)), n.b(x).mean((2, 3))
        return n.c((first[:, :, None] * second[:, None, :]).flatten(1))

    traced = net(step, a=conv(3, 4), b=conv(3, 6), c=nn.Linear(24, 6), fc=fc(6))
    assert {traced.unit[name].reason for name in "ab"} == {"is multiplied out in mul"}


def test_a_gate_made_of_one_channel_stays_out_of_the_unit_that_it_scales():
    def step(n: nn.Module, x):
        a = n.a(x)
        return n.b(a * F.sigmoid(n.gate(a)))

    traced = net(step, a=conv(3, 6), gate=conv(6, 1), b=conv(6, 4), fc=fc(4))
    assert (traced.unit["a"].kind, traced.unit["a"].layers) == ("free", ("a",))


# one channel that is broadcast over others acts on all of them


def seven_and_one(how) -> Net:
    """A layer of eight channels, of which the last acts on the seven others as `how` says."""
    torch.manual_seed(0)
    return Net(lambda n, x: n.r(how(*n.f(x).split((7, 1), 1))), f=conv(3, 8), r=conv(7, 4, 1),
               fc=fc(4))  # fmt: skip


ACTING = {
    "mul": lambda v, spread: v * torch.sigmoid(spread),
    "div": lambda v, spread: v / (2 + spread.abs()),
    "where": lambda v, spread: torch.where(spread > 0, v, -v),
    "maximum": lambda v, spread: torch.maximum(v, spread),
    "masked_fill": lambda v, spread: v.masked_fill(spread > 0, 0),
    "lerp": lambda v, spread: torch.lerp(v, v * v, spread),
    "clamp": lambda v, spread: torch.clamp(v, max=spread),
    "addcmul": lambda v, spread: torch.addcmul(v, v, spread),
}
WAYS = {
    "as it is": lambda spread: spread,
    "expanded": lambda spread: spread.expand(-1, 7, -1, -1),
    "repeated": lambda spread: spread.repeat(1, 7, 1, 1),
    "repeated in place": lambda spread: spread.repeat_interleave(7, 1),
    "stacked": lambda spread: torch.stack([spread] * 7, 1).squeeze(2),
    "concatenated": lambda spread: torch.cat([spread] * 7, 1),
    "pooled": lambda spread: spread.mean((2, 3), keepdim=True),
    "without its axis": lambda spread: spread.squeeze(1)[:, None],
}


@pytest.mark.parametrize("name", ACTING)
def test_a_channel_that_acts_on_others_is_tied(name):
    unit = anatomy(seven_and_one(ACTING[name])).unit["f"]
    reason = f"acts on other channels in {name}, where zero is not its absence"
    assert (unit.kind, unit.reason) == ("tied", reason)


@pytest.mark.parametrize("way", WAYS)
def test_a_channel_acts_on_others_however_it_is_spread(way):
    traced = anatomy(seven_and_one(lambda v, spread: v * torch.sigmoid(WAYS[way](spread))))
    assert traced.unit["f"].reason.startswith("acts on other channels in mul")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("channel", [3, 7])
@torch.no_grad()
def test_a_channel_that_is_added_to_others_is_gone_from_their_sums(way, channel):
    network = seven_and_one(lambda v, spread: F.relu(v + 2 * WAYS[way](spread)))
    case = removal.case(network, 3, 6, 6)
    unit = case.dissection.anatomy.unit["f"]
    dropped = np.zeros(case.dissection.anatomy.channels, bool)
    dropped[labels(case.dissection.anatomy, "f")[channel]] = True
    lesion = removal.whole(unit, dropped)
    outputs = dict(case.replay.run((case.x,), {lesion: cut(case.replay, lesion, dropped)}))

    def zero(_module: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        return inputs[0].index_fill(1, torch.tensor(channel), 0)

    if channel == 7:  # the sum reads it
        network.f.weight[7], network.f.bias[7] = 0, 0
        expected = network(case.x)
    else:
        with network.r.register_forward_pre_hook(zero):
            expected = network(case.x)
    assert (outputs[lesion] - expected).abs().max() < 1e-12
    assert (outputs[None] - expected).abs().max() > 1e-3


def test_a_channel_without_axes_acts_on_others():
    units = mixing(seven_and_one(lambda v, spread: v * spread[0, 0, 0, 0]))
    assert units["f"].reason.startswith("acts on other channels in mul")


def test_pooled_channels_that_are_added_to_positions_stay_channels():
    def step(n: nn.Module, x: Tensor) -> Tensor:
        tokens = n.a(x).mean((2, 3))[:, None] + n.positions.weight
        return n.b(F.relu(tokens)).transpose(1, 2)

    positions = nn.Module()
    positions.weight = nn.Parameter(torch.rand(1, 9, 6))
    traced = net(step, a=conv(3, 6), positions=positions, b=nn.Linear(6, 4), fc=fc(4))
    assert list(traced.layer["b"].reads) == labels(traced, "a")
    assert list(traced.parameter["positions.weight"].axes[2]) == labels(traced, "a")


def test_gates_of_heads_let_each_head_fall_as_a_whole():
    def step(n: nn.Module, x: Tensor) -> Tensor:
        heads = n.a(x).view(len(x), 2, 3, 6, 6)
        gate = torch.sigmoid(n.gate(x.mean((2, 3))))[:, :, None, None, None]
        return n.b((heads * gate).flatten(1, 2))

    traced = net(step, a=conv(3, 6), gate=nn.Linear(3, 2), b=conv(6, 4), fc=fc(4))
    assert (traced.unit["a"].channels, traced.unit["a"].layers) == (2, ("a", "gate"))


def test_what_is_tied_is_a_row_with_its_reason():
    chosen, skipped = targets(anatomy(seven_and_one(ACTING["mul"])))
    assert "f" not in {target.name for target in chosen}
    assert [skip.reason for skip in skipped if skip.target == "f"] == [
        "acts on other channels in mul, where zero is not its absence"
    ]
