"""Operations that move positions: where the labels lie afterwards."""

from anatomies import labels, net, planted
from small_networks import conv, fc
from torch import Tensor, nn


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


def test_a_write_into_channels_is_followed_in_a_graph_of_one_batch_too():
    def step(n: nn.Module, x: Tensor) -> Tensor:
        y = n.a(x * 2 if float(x.sum()) > 1e9 else x)  # which torch.export refuses
        y[:, 2:] = n.b(x)
        return n.c(y)

    found = net(step, a=conv(3, 6), b=conv(3, 4), c=conv(6, 4), fc=fc(4))
    assert found.whole
    assert {found.unit[found.layer[name].unit].kind for name in "ab"} == {"free"}
    assert list(found.layer["c"].reads) == labels(found, "a")[:2] + labels(found, "b")


def test_flattening_repeats_each_label_once_a_pixel():
    found = planted("flattened")
    assert list(found.layer["f"].reads) == [one for one in labels(found, "a") for _ in range(9)]


def test_a_shuffle_sends_each_group_into_every_group():
    found = planted("grouped_and_shuffled")
    made, read = labels(found, "c"), list(found.layer["g"].reads)
    assert read == [made[i] for i in (0, 4, 1, 5, 2, 6, 3, 7)]
    cells = {frozenset(made.index(label) for label in cell) for cell in found.unit["c"].cells}
    assert cells == {frozenset(pair) for pair in ((0, 1), (2, 3), (4, 5), (6, 7))}


def test_a_pixel_shuffle_ties_the_channels_that_it_turns_into_pixels():
    reason = planted("pixel_shuffle").unit["a"].reason
    assert reason == "does not lie on the channel axis of d"
