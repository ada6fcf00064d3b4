"""Coupling: units, cells, labels and reasons that were derived by hand.

What each kind of operation does to labels is tested in the folder `rules`.
"""

import pytest
from anatomies import anatomy, net, planted
from small_networks import NETWORKS, UNITS, chain, conv, fc
from torch import nn
from torch.nn import functional as F


@pytest.mark.parametrize("name", NETWORKS)
def test_units_kinds_and_cells_are_those_derived_by_hand(name):
    units = [u for u in planted(name).units if u.name not in ("fc", "heads.head")]
    assert {u.name: (u.kind, u.channels, len(u.cells)) for u in units} == UNITS[name]


@pytest.mark.parametrize("name", NETWORKS)
def test_units_divide_the_labels_and_cells_divide_the_units(name):
    traced = planted(name)
    labels = [label for unit in traced.units for label in unit.labels]
    assert labels == list(range(traced.channels))
    for unit in traced.units:
        assert sorted(label for cell in unit.cells for label in cell) == list(unit.labels)
        for layer in unit.layers:
            assert set(traced.made_by(layer)) & set(unit.labels)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_filter_has_one_label(name):
    traced = planted(name)
    for layer in traced.layers:
        assert len(traced.made_by(layer.name)) == layer.channels
        assert len(layer.reads) == layer.channels_in


def test_the_layers_of_a_coupled_unit_are_those_that_add_into_it():
    units = planted("pre_activation").unit
    assert units["a"].layers == ("a", "d.conv2", "e.conv2")
    assert units["d.conv1"].layers == ("d.conv1",)


def test_depthwise_layers_and_gates_follow_a_free_unit():
    assert planted("depthwise_doubled").unit["a"].layers == ("a", "d")
    assert planted("squeeze_and_excite").unit["a"].layers == ("a", "d.fc2")


# what cannot be removed, and why


def test_outputs_are_tied():
    unit = planted("flattened").unit["fc"]
    assert (unit.kind, unit.reason) == ("tied", "its channels are the network's outputs")


def test_channels_that_are_added_to_the_input_are_tied():
    traced = net(lambda n, x: n.b(x + n.a(x)), a=conv(3, 3), b=conv(3, 4), fc=fc(4))
    unit = traced.unit["a"]
    assert (unit.kind, unit.reason) == ("tied", "meets values whose channels cannot be removed")


def test_a_single_channel_is_tied():
    traced = net(lambda n, x: n.b(n.a(x)), a=conv(3, 1), b=conv(1, 4), fc=fc(4))
    assert (traced.unit["a"].kind, traced.unit["a"].reason) == ("tied", "has a single channel")


def test_groups_of_a_single_channel_are_tied():
    traced = net(lambda n, x: n.b(F.relu(n.a(x))), a=conv(3, 2), b=conv(2, 4, groups=2), fc=fc(4))
    assert traced.unit["a"].kind == "free", "a depthwise layer asks for no cells"
    traced = net(lambda n, x: n.norm(n.a(x)), a=conv(3, 4), norm=nn.GroupNorm(4, 4), fc=fc(4))
    assert traced.unit["a"].kind == "free", "as many groups as channels mix nothing"
    shuffled = chain(conv(3, 4, groups=1), conv(4, 4, groups=2), nn.ChannelShuffle(2),
                     conv(4, 4, groups=2), out=4)  # fmt: skip
    unit = anatomy(shuffled).unit["b"]
    assert (unit.kind, unit.reason) == ("tied", "each of its groups has a single channel")


def test_groups_that_cannot_lose_equally_many_are_tied():
    reason = "its groups are of different sizes and cannot lose equally many"
    for name in ("grouped_over_two", "norm_over_two"):
        assert {planted(name).unit[unit].reason for unit in ("a", "b")} == {reason}
