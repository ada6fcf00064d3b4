"""Which parts of a network are blocks: where a stream meets a branch."""

import anatomies
import torch
from small_networks import conv, fc
from torch import nn
from torch.nn import functional as F

from lesion.network.anatomy import Anatomy, Block, Layer


def net(step, **modules):
    """Blocks of a network that ends in a classifier of four channels: name, layers, shared."""
    layers = {"fc": fc(4), **modules}
    anatomy = anatomies.net(lambda n, x: step(n, F.relu(n.stem(x))), stem=conv(3, 4), **layers)
    return [(block.name, block.layers, block.shared) for block in anatomy.blocks]


def same(**options):
    return conv(4, 4, **options)


def test_the_stream_may_stand_on_either_side_and_be_pooled_and_normalised():
    for step in (
        lambda n, x: x + n.a(x),
        lambda n, x: n.a(x) + x,
        lambda n, x: F.max_pool2d(x, 2) + F.avg_pool2d(n.a(x), 2),
        lambda n, x: n.norm(x) + n.a(x),
    ):
        assert net(step, a=same(), norm=nn.BatchNorm2d(4)) == [("a", ("a",), ())]


def test_branches_side_by_side_are_two_blocks():
    assert net(lambda n, x: x + n.a(x) + n.b(n.c(x)), a=same(), b=same(), c=same()) == [
        ("a", ("a",), ()),
        ("c to b", ("c", "b"), ()),
    ]


def test_a_gate_of_the_stream_without_layers_is_no_branch():
    assert net(lambda n, x: x + x.mean((2, 3), True) * x, a=same()) == []


def test_a_gated_branch_is_one_block():
    step = lambda n, x: x + n.a(x) * torch.sigmoid(n.b(x.mean((2, 3), True)))  # noqa: E731
    assert net(step, a=same(), b=conv(4, 4, 1)) == [("a to b", ("a", "b"), ())]


def test_a_projection_beside_a_block_stays_and_two_branches_without_stream_are_none():
    projected = net(
        lambda n, x: n.skip(x) + n.b(n.a(x)),
        a=same(stride=2), b=same(), skip=conv(4, 4, 1, stride=2),
    )  # fmt: skip
    assert projected == [("a to b", ("a", "b"), ())]
    assert net(lambda n, x: n.a(x) + n.b(x), a=same(), b=same()) == []
    assert net(lambda n, x: n.a(x) + n.b(x), a=conv(4, 4, 1), b=conv(4, 4, 1)) == []


def test_a_stream_that_is_broadcast_or_weighed_is_none():
    assert net(lambda n, x: x.mean((2, 3), True) + n.a(x), a=same()) == []
    assert net(lambda n, x: torch.add(x, n.a(x), alpha=2), a=same()) == []


def test_a_layer_that_runs_in_two_blocks_is_shared():
    def step(n, x):
        x = x + n.a(x)
        return x + n.b(n.a(x))

    shared = net(step, a=same(), b=same())
    assert shared == [("a", (), ("a",)), ("b to a", ("b",), ("a",))]


def test_values_that_something_else_reads_are_not_lost():
    def step(n, x):
        a = n.a(x)
        return torch.cat([x + n.b(a), a], 1)

    assert net(step, a=same(), b=conv(4, 4, 1), fc=fc(8)) == [("b", ("b",), ())]


def test_concatenation_with_what_a_branch_has_read_makes_dense_blocks():
    def dense(n, x):
        x = torch.cat([x, F.relu(n.a(x))], 1)
        return n.out(torch.cat([x, n.b(x)], 1))

    assert net(dense, a=same(), b=conv(8, 4), out=conv(12, 4)) == [
        ("a", ("a",), ()),
        ("b", ("b",), ()),
    ]
    inception = lambda n, x: n.out(torch.cat([n.a(x), n.b(x)], 1))  # noqa: E731
    assert net(inception, a=same(), b=same(), out=conv(8, 4)) == []


def test_blocks_of_one_name_are_numbered():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c, self.d = (same() for _ in range(4))

        def forward(self, x):
            x = x + self.b(F.relu(self.a(x)))
            return x + self.d(F.relu(self.c(x)))

    assert [name for name, *_ in net(lambda n, x: n.two(x), two=Two())] == ["two", "two (2)"]


def test_a_study_that_holds_no_blocks_has_those_that_its_layers_name():
    first, second, out = (
        Layer(name, 1, "conv2d", 4, 4, 1, (3, 3), (), 1, 1, "", None, "", "", 2, block, ("last",))
        for name, block in (("a.conv1", "a"), ("a.conv2", "a"), ("fc", None))
    )
    anatomy = Anatomy((first, second, out), (), ())
    assert anatomy.block == {"a": Block("a", ("a.conv1", "a.conv2"), (), 0, 2, ("last",))}
