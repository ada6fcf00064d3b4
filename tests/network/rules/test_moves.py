"""Operations that move positions: where the labels lie afterwards."""

from anatomies import labels, net, planted
from small_networks import conv, fc
from torch import Tensor, nn


def test_concatenation_puts_labels_behind_each_other():
    traced = planted("concatenation")
    both = labels(traced, "a") + labels(traced, "b")
    assert list(traced.layer["c"].reads) == both
    assert list(traced.parameter["norm.weight"].axes[0]) == both
    assert list(traced.parameter["norm.running_var"].axes[0]) == both


def test_slicing_and_padding_move_labels():
    traced = planted("padded_and_sliced")
    a, b = labels(traced, "a"), labels(traced, "b")
    assert b[2:7] == a[1:]
    assert len(set(a + b)) == traced.unit["a"].channels == 11
    assert traced.layer["fc"].reads == tuple(b)


def test_writing_into_a_slice_moves_labels():
    def step(n: nn.Module, x: Tensor) -> Tensor:
        y = n.a(x).clone()
        y[:, 2:] += n.b(x)
        return n.c(y)

    traced = net(step, a=conv(3, 6), b=conv(3, 4), c=conv(6, 4), fc=fc(4))
    assert labels(traced, "b") == labels(traced, "a")[2:]
    assert list(traced.layer["c"].reads) == labels(traced, "a")
    assert {traced.unit[traced.layer[name].unit].kind for name in "ab"} == {"coupled"}


def test_channels_of_which_a_row_of_pixels_is_written_into_others_fall_with_them():
    def step(n: nn.Module, x: Tensor) -> Tensor:
        y = n.a(x).clone()
        y[:, :, 0] = n.b(x)[:, :, 1]
        return n.c(y)

    traced = net(step, a=conv(3, 6), b=conv(3, 6), c=conv(6, 4), fc=fc(4))
    assert traced.layer["a"].makes == traced.layer["b"].makes == traced.layer["c"].reads
    unit = traced.unit[traced.layer["a"].unit]
    assert (unit.kind, unit.channels) == ("coupled", 6)


def test_a_write_into_channels_is_followed_in_a_graph_of_one_batch_too():
    def step(n: nn.Module, x: Tensor) -> Tensor:
        y = n.a(x * 2 if float(x.sum()) > 1e9 else x)  # which torch.export refuses
        y[:, 2:] = n.b(x)
        return n.c(y)

    traced = net(step, a=conv(3, 6), b=conv(3, 4), c=conv(6, 4), fc=fc(4))
    assert traced.whole
    assert {traced.unit[traced.layer[name].unit].kind for name in "ab"} == {"free"}
    assert list(traced.layer["c"].reads) == labels(traced, "a")[:2] + labels(traced, "b")


def test_flattening_repeats_each_label_once_a_pixel():
    traced = planted("flattened")
    made = labels(traced, "a")
    assert list(traced.layer["f"].reads) == [label for label in made for _ in range(9)]


def test_a_shuffle_sends_each_group_into_every_group():
    traced = planted("grouped_and_shuffled")
    made, read = labels(traced, "c"), list(traced.layer["g"].reads)
    assert read == [made[i] for i in (0, 4, 1, 5, 2, 6, 3, 7)]
    cells = {frozenset(made.index(label) for label in cell) for cell in traced.unit["c"].cells}
    assert cells == {frozenset(pair) for pair in ((0, 1), (2, 3), (4, 5), (6, 7))}


def test_the_channels_that_a_pixel_shuffle_turns_into_pixels_of_one_fall_together():
    unit = planted("pixel_shuffle").unit["a"]
    assert (unit.kind, unit.channels) == ("free", 4)
    makes = planted("pixel_shuffle").made_by("a")
    assert makes == tuple(unit.first + channel for channel in range(4) for _ in range(4))
