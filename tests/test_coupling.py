"""Coupling: units, cells, labels and reasons that were derived by hand."""

from functools import cache

import pytest
import torch
from removal import forward
from small_networks import NETWORKS, UNITS, Net, chain, conv, fc
from torch import Tensor, nn
from torch.nn import functional as F

from lesion.anatomy import CONSTANT, Anatomy
from lesion.cost import cost
from lesion.dissect import dissect
from lesion.engine import Replay


def anatomy(network: nn.Module) -> Anatomy:
    x = torch.zeros(2, *getattr(network, "shape", (3, 6, 6)))
    return dissect(network.eval(), forward, x).anatomy


@cache
def planted(name: str) -> Anatomy:
    return anatomy(NETWORKS[name]())


def net(step, **modules: nn.Module) -> Anatomy:
    return anatomy(Net(step, **modules))


@pytest.mark.parametrize("name", NETWORKS)
def test_units_kinds_and_cells_are_those_derived_by_hand(name):
    units = [u for u in planted(name).units if u.name not in ("fc", "heads.head")]
    assert {u.name: (u.kind, u.channels, len(u.cells)) for u in units} == UNITS[name]


@pytest.mark.parametrize("name", NETWORKS)
def test_units_divide_the_labels_and_cells_divide_the_units(name):
    found = planted(name)
    labels = [label for unit in found.units for label in unit.labels]
    assert labels == list(range(found.channels))
    for unit in found.units:
        assert sorted(label for cell in unit.cells for label in cell) == list(unit.labels)
        for layer in unit.layers:
            assert set(found.made_by(layer)) & set(unit.labels)


def test_the_layers_of_a_coupled_unit_are_those_that_add_into_it():
    found = planted("pre_activation").unit
    assert found["a"].layers == ("a", "d.conv2", "e.conv2")
    assert found["d.conv1"].layers == ("d.conv1",)


def test_depthwise_layers_and_gates_follow_a_free_unit():
    assert planted("depthwise_doubled").unit["a"].layers == ("a", "d")
    assert planted("squeeze_and_excite").unit["a"].layers == ("a", "d.fc2")


def labels(found: Anatomy, layer: str) -> list[int]:
    return list(found.made_by(layer))


def test_a_depthwise_layer_with_multiplier_2_makes_each_label_twice():
    found = planted("depthwise_doubled")
    assert labels(found, "d") == [label for label in labels(found, "a") for _ in range(2)]
    assert list(found.layer["g"].reads) == labels(found, "d")


def test_concatenation_puts_labels_behind_each_other():
    found = planted("concatenation")
    both = labels(found, "a") + labels(found, "b")
    assert list(found.layer["c"].reads) == both
    assert list(found.parameter["norm.weight"].axes[0]) == both
    assert list(found.parameter["norm.running_var"].axes[0]) == both


def test_slicing_and_padding_move_labels():
    found = planted("padded_and_sliced")
    a, b = labels(found, "a"), labels(found, "b")
    assert b[2:7] == a[1:]
    assert len(set(a + b)) == found.unit["a"].channels == 11
    assert found.layer["fc"].reads == tuple(b)


def test_writing_into_a_slice_moves_labels():
    def step(n: nn.Module, x: Tensor) -> Tensor:
        y = n.a(x).clone()
        y[:, 2:] += n.b(x)
        return n.c(y)

    found = net(step, a=conv(3, 6), b=conv(3, 4), c=conv(6, 4), fc=fc(4))
    assert labels(found, "b") == labels(found, "a")[2:]
    assert list(found.layer["c"].reads) == labels(found, "a")
    assert {found.unit[found.layer[name].unit].kind for name in "ab"} == {"coupled"}


def test_writing_into_a_row_of_pixels_ties_the_channels():
    def step(n: nn.Module, x: Tensor) -> Tensor:
        y = n.a(x).clone()
        y[:, :, 0] = n.b(x)[:, :, 1]
        return n.c(y)

    found = net(step, a=conv(3, 6), b=conv(3, 6), c=conv(6, 4), fc=fc(4))
    for name in "ab":
        unit = found.unit[found.layer[name].unit]
        assert (unit.kind, unit.reason) == ("tied", "does not lie on the channel axis of c")


def test_a_write_that_the_trace_shows_only_as_a_side_effect_ties_the_channels():
    def step(n: nn.Module, x: Tensor) -> Tensor:
        y = n.a(x * 2 if float(x.sum()) > 1e9 else x)  # which torch.export refuses
        y[:, 2:] = n.b(x)
        return n.c(y)

    found = net(step, a=conv(3, 6), b=conv(3, 4), c=conv(6, 4), fc=fc(4))
    assert found.whole
    assert {found.unit[found.layer[name].unit].kind for name in "ab"} == {"tied"}


def test_flattening_repeats_each_label_once_a_pixel():
    found = planted("flattened")
    assert list(found.layer["f"].reads) == [one for one in labels(found, "a") for _ in range(9)]


def test_a_shuffle_sends_each_group_into_every_group():
    found = planted("grouped_and_shuffled")
    made, read = labels(found, "c"), list(found.layer["g"].reads)
    assert read == [made[i] for i in (0, 4, 1, 5, 2, 6, 3, 7)]
    cells = {frozenset(made.index(label) for label in cell) for cell in found.unit["c"].cells}
    assert cells == {frozenset(pair) for pair in ((0, 1), (2, 3), (4, 5), (6, 7))}


def test_the_halves_of_a_gate_fall_together():
    for name in ("gated_halves", "gated_linear_unit"):
        made = labels(planted(name), "a")
        assert made[:6] == made[6:]


def test_parameters_of_its_own_follow_the_channels():
    found = planted("own_parameters")
    assert list(found.parameter["scale.weight"].axes[0]) == labels(found, "a")
    assert list(found.parameter["offset.weight"].axes[1]) == labels(found, "a")


def test_the_network_reads_its_input_as_constants():
    assert planted("flattened").layer["a"].reads == (CONSTANT,) * 3


# what cannot be removed, and why


def test_outputs_are_tied():
    unit = planted("flattened").unit["fc"]
    assert (unit.kind, unit.reason) == ("tied", "its channels are the network's outputs")


def test_an_operation_that_is_not_known_ties_its_channels_and_says_so():
    found = net(lambda n, x: n.b(n.a(x).cumprod(1)), a=conv(3, 6), b=conv(6, 4), fc=fc(4))
    reason = "enters cumprod, behind which channels cannot be followed"
    assert (found.unit["a"].kind, found.unit["a"].reason) == ("tied", reason)
    assert found.notes == (f"the network: what {reason}",)
    assert found.unit["b"].kind == "free"


def test_attention_ties_its_heads_and_the_stream_that_it_reads():
    found = planted("transformer").unit
    heads, stream = found["encoder.layers.encoder_layer_0.self_attention"], found["conv_proj"]
    assert heads.reason.startswith("attention: is summed against other activations in ")
    assert stream.reason == (
        "residual stream of attention: encoder.layers.encoder_layer_0.self_attention reads it "
        "for queries, keys and values"
    )


def test_channels_that_are_added_to_the_input_are_tied():
    found = net(lambda n, x: n.b(x + n.a(x)), a=conv(3, 3), b=conv(3, 4), fc=fc(4))
    unit = found.unit["a"]
    assert (unit.kind, unit.reason) == ("tied", "meets values whose channels cannot be removed")


def test_a_single_channel_is_tied():
    found = net(lambda n, x: n.b(n.a(x)), a=conv(3, 1), b=conv(1, 4), fc=fc(4))
    assert (found.unit["a"].kind, found.unit["a"].reason) == ("tied", "has a single channel")


def test_groups_of_a_single_channel_are_tied():
    found = net(lambda n, x: n.b(F.relu(n.a(x))), a=conv(3, 2), b=conv(2, 4, groups=2), fc=fc(4))
    assert found.unit["a"].kind == "free", "a depthwise layer asks for no cells"
    found = net(lambda n, x: n.norm(n.a(x)), a=conv(3, 4), norm=nn.GroupNorm(4, 4), fc=fc(4))
    assert found.unit["a"].kind == "free", "as many groups as channels mix nothing"
    shuffled = chain(conv(3, 4, groups=1), conv(4, 4, groups=2), nn.ChannelShuffle(2),
                     conv(4, 4, groups=2), out=4)  # fmt: skip
    unit = anatomy(shuffled).unit["b"]
    assert (unit.kind, unit.reason) == ("tied", "each of its groups has a single channel")


def test_groups_that_cannot_lose_equally_many_are_tied():
    reason = "its groups are of different sizes and cannot lose equally many"
    for name in ("grouped_over_two", "norm_over_two"):
        assert {planted(name).unit[unit].reason for unit in ("a", "b")} == {reason}


@pytest.mark.parametrize("groups", [2, 6])
def test_grouped_transposed_convolutions_are_tied(groups):
    network = chain(conv(3, 6), nn.ConvTranspose2d(6, 6, 2, 2, groups=groups), conv(6, 4), out=4)
    found = anatomy(network)
    assert {found.unit[found.layer[name].unit].reason for name in "ab"} == {
        "meets b, a grouped transposed convolution"
    }
    assert found.unit["c"].kind == "free"


def test_softmax_over_channels_ties_them():
    found = net(lambda n, x: n.b(n.a(x).softmax(1)), a=conv(3, 6), b=conv(6, 4), fc=fc(4))
    assert found.unit["a"].kind == "tied"
    assert "softmax" in found.unit["a"].reason


def test_a_pixel_shuffle_ties_the_channels_that_it_turns_into_pixels():
    reason = planted("pixel_shuffle").unit["a"].reason
    assert reason == "does not lie on the channel axis of d"


def test_weights_made_in_every_pass_are_not_a_layer():
    def step(n: nn.Module, x: Tensor) -> Tensor:
        return n.b(F.conv2d(n.a(x), n.a.weight.mean(1, keepdim=True).expand(6, 6, 3, 3)))

    found = net(step, a=conv(3, 6), b=conv(6, 4), fc=fc(4))
    assert found.unit["a"].kind == "tied"
    assert "whose weights are computed each pass" in found.unit["a"].reason


class Standardised(nn.Conv2d):
    """Its filters are standardised in every pass."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight / self.weight.std((1, 2, 3), keepdim=True))


def test_weights_made_from_a_parameter_leave_it_as_it_is():
    network = Net(lambda n, x: n.b(n.a(x)), a=Standardised(3, 6, 3), b=Standardised(6, 4, 3))
    network.add_module("fc", fc(4))
    x = torch.randn(2, 3, 6, 6)
    dissection = dissect(network.eval(), forward, x)
    assert torch.equal(dissection.graph.parameters["a.weight"], network.a.weight)
    assert [layer.name for layer in dissection.anatomy.layers] == ["a", "b", "fc"]
    assert cost(dissection.anatomy).parameters == sum(p.numel() for p in network.parameters())
    ((_, logits),) = Replay(dissection).run((x,), {})
    torch.testing.assert_close(logits, network(x))


# branches: one layer's part in a sum


def test_a_part_of_a_sum_is_a_branch_and_a_gate_is_none():
    found = planted("squeeze_and_excite").layer
    reason = "its channels multiply others (a gate), so that no part of a sum is theirs"
    assert (found["d.fc2"].branch, found["a"].branch, found["d.fc1"].branch) == (reason, reason, "")
    assert [planted("pre_activation").layer[name].branch for name in ("a", "d.conv2")] == ["", ""]


def test_operations_that_are_no_sums_have_no_branches():
    reason = "its channels meet others in an operation that is no sum"
    for name in ("larger_of_two", "side_by_side"):
        assert [planted(name).layer[layer].branch for layer in "ab"] == [reason, reason]


def test_batch_norm_over_tokens_leaves_channels_alone():
    found = planted("norm_over_tokens")
    assert found.parameter["norm.weight"].axes == {}
    assert labels(found, "a") == list(found.layer["b"].reads)
