"""Elementwise operations: which labels fall together, and what they are to each other."""

from anatomies import labels, net, planted
from small_networks import conv, fc
from torch import nn
from torch.nn import functional as F


def test_the_halves_of_a_gate_fall_together():
    for name in ("gated_halves", "gated_linear_unit"):
        made = labels(planted(name), "a")
        assert made[:6] == made[6:]


def test_parameters_of_its_own_follow_the_channels():
    found = planted("own_parameters")
    assert list(found.parameter["scale.weight"].axes[0]) == labels(found, "a")
    assert list(found.parameter["offset.weight"].axes[1]) == labels(found, "a")


def test_the_slopes_of_a_parametric_relu_follow_the_channels_and_a_single_one_does_not():
    found = planted("parametric_relu")
    assert list(found.parameter["b.weight"].axes[0]) == labels(found, "a")
    assert found.parameter["d.weight"].axes == {}


def test_an_outer_product_ties_the_channels_that_it_multiplies_out():
    def step(n: nn.Module, x):
        one, other = n.a(x).mean((2, 3)), n.b(x).mean((2, 3))
        return n.c((one[:, :, None] * other[:, None, :]).flatten(1))

    found = net(step, a=conv(3, 4), b=conv(3, 6), c=nn.Linear(24, 6), fc=fc(6))
    assert {found.unit[name].reason for name in "ab"} == {"is multiplied out in mul"}


def test_a_gate_made_of_one_channel_stays_out_of_the_unit_that_it_scales():
    def step(n: nn.Module, x):
        a = n.a(x)
        return n.b(a * F.sigmoid(n.gate(a)))

    found = net(step, a=conv(3, 6), gate=conv(6, 1), b=conv(6, 4), fc=fc(4))
    assert (found.unit["a"].kind, found.unit["a"].layers) == ("free", ("a",))
