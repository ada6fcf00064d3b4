"""Numbers of channels that a forward holds: followed where an attribute has them, else told."""

import allocations
import pytest
import torch
from small_networks import Net, conv, fc
from torch import nn
from torch.nn import functional as F

from lesion import apply, layers


def divided(n, x):
    """By a number of its own."""
    x = n.a(x)
    return n.d(n.b(x[:, :4]) + n.c(x[:, 4:]))


def halved(n, x):
    x = n.a(x)
    half = x.shape[1] // 2
    return n.d(n.b(x[:, :half]) + n.c(x[:, half:]))


def by_attribute(n, x):
    x = n.a(x)
    return n.d(n.b(x[:, : n.width]) + n.c(x[:, n.width :]))


def split(n, x):
    first, second = n.a(x).split((n.width, n.width), 1)
    return n.d(n.b(first) + n.c(second))


def chunked(n, x):
    first, second = n.a(x).chunk(2, 1)
    return n.d(n.b(first) + n.c(second))


def network(step):
    torch.manual_seed(0)
    net = Net(step, a=conv(3, 8), b=conv(4, 6), c=conv(4, 6), d=conv(6, 4), fc=fc(4))
    net.width = 4
    return net.eval()


def images():
    return torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("step", [halved, by_attribute, split, chunked])
def test_equal_parts_lose_equally_many_and_attributes_follow(step):
    net, x = network(step), images()
    anatomy = layers(net, x)
    unit = anatomy.unit["a"]
    assert (unit.kind, [len(cell) for cell in unit.cells]) == ("free", [4, 4])
    rates = allocations.by_channels(anatomy, {"a": [1, 2, 5, 7], "b": [0]})
    small = apply(rates, net, x)
    kept = [0, 3, 4, 6]
    assert torch.equal(small.a.weight, net.a.weight[kept])
    assert torch.equal(small.c.weight, net.c.weight[1:][:, [0, 2]])
    assert small.width == 2  # where this forward does not read it, another may
    with torch.no_grad():
        for layer, fallen in ((net.b, [1, 2]), (net.c, [1, 3]), (net.d, [0])):
            layer.weight[:, fallen] = 0
        assert torch.allclose(small(x), net(x), atol=1e-6)


def test_a_number_in_the_code_itself_holds_what_it_divides():
    unit = layers(network(divided), images()).unit["a"]
    assert unit.kind == "free"  # it can be lesioned
    assert unit.held.startswith(
        "its number of channels is held by Net, which fails without some of them ("
    )


class Padded(nn.Module):
    """A shortcut that pads channels, by a number that it keeps."""

    def __init__(self, new):
        super().__init__()
        self.new, self.a, self.b, self.c = new, conv(3, 5), conv(5, 8), conv(8, 4)

    def forward(self, x):
        x = self.a(x)
        return self.c(F.pad(x, (0, 0, 0, 0, 0, self.new)) + self.b(x)).mean((2, 3))


def test_a_padded_shortcut_is_padded_with_what_stays():
    torch.manual_seed(0)
    net, x = Padded(3).eval(), images()
    anatomy = layers(net, x)
    assert (anatomy.unit["a"].kind, anatomy.unit["a"].channels) == ("coupled", 8)
    small = apply(allocations.by_channels(anatomy, {"a": [1, 5, 7]}), net, x)
    assert (small.new, small.a.out_channels, small.b.out_channels) == (1, 4, 5)
    assert (small.b.in_channels, small.c.in_channels) == (4, 5)


class Viewed(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.size, self.a, self.f = size, conv(3, 8), nn.Linear(288, 4)

    def forward(self, x):
        return self.f(self.a(x).view(len(x), self.size))


def literal(n, x):
    x = n.a(x)
    return n.d(n.e(x.view(len(x), 8, -1).view(x.shape)))


def from_the_shape(n, x):
    x = n.a(x)
    return n.d(n.e(x.view(len(x), x.shape[1], -1).view(x.shape)))


def normalised(n, x):
    x = n.a(x).movedim(1, -1)
    return n.d(n.e(F.layer_norm(x, (8,)).movedim(-1, 1)))


def normalised_by_its_shape(n, x):
    x = n.a(x).movedim(1, -1)
    return n.d(n.e(F.layer_norm(x, x.shape[-1:]).movedim(-1, 1)))


def depthwise(n, x):
    return n.d(n.e(F.conv2d(n.a(x), n.kernel, groups=8)))


FORWARDS = [
    (literal, True), (from_the_shape, False), (normalised, True), (normalised_by_its_shape, False),
    (depthwise, True),
]  # fmt: skip


@pytest.mark.parametrize(("step", "held"), FORWARDS)
def test_operations_that_are_given_the_number_of_channels_itself(step, held):
    net = Net(step, a=conv(3, 8), e=conv(8, 6), d=conv(6, 4), fc=fc(4)).eval()
    net.kernel = nn.Parameter(torch.randn(8, 1, 1, 1))
    unit = layers(net, images()).unit["a"]
    assert unit.kind == "free" and bool(unit.held) is held


@pytest.mark.parametrize("size", [-1, 288])
def test_a_flattened_map_of_a_fixed_size(size):
    torch.manual_seed(0)
    net, x = Viewed(size).eval(), images()
    anatomy = layers(net, x)
    assert anatomy.unit["a"].kind == "free" and not anatomy.unit["a"].held
    small = apply(allocations.by_channels(anatomy, {"a": [0, 3]}), net, x)
    assert (small.size, small.f.in_features) == (size if size < 0 else 216, 216)


class Mixing(nn.Module):
    """A shuffle whose channels cannot fall in columns, beside a split whose parts can."""

    def __init__(self):
        super().__init__()
        self.a, self.g, self.b = conv(3, 12), nn.Conv2d(12, 9, 1, groups=3), conv(9, 8)
        self.c, self.d = conv(4, 6), conv(4, 6)
        self.e = conv(6, 4)

    def forward(self, x):
        x = self.a(x)
        x = x.view(len(x), 3, x.shape[1] // 3, *x.shape[2:]).transpose(1, 2).flatten(1, 2)
        first, second = self.b(self.g(x).relu()).chunk(2, 1)
        return self.e(self.c(first) + self.d(second)).mean((2, 3))


def test_what_is_held_takes_no_condition_from_what_is_not():
    units = layers(Mixing().eval(), images()).unit
    assert units["a"].held and (units["a"].kind, units["a"].channels) == ("free", 12)
    assert not units["b"].held and [len(cell) for cell in units["b"].cells] == [4, 4]


def partial(n, x):
    """Convolves some channels of several, as FasterNet does, beside a split that has to follow."""
    first, second = n.a(x).split((n.width, n.width), 1)
    stream = n.p(n.b(first) + n.c(second))
    some, rest = stream.split((n.some, n.rest), 1)
    return n.d(torch.cat([n.q(some), rest], 1))


def test_a_number_that_divides_what_stays_is_not_that_of_what_falls_elsewhere():
    net = Net(partial, a=conv(3, 8), b=conv(4, 6), c=conv(4, 6), p=conv(6, 12), q=conv(5, 5),
              d=conv(12, 4), fc=fc(4)).eval()  # fmt: skip
    net.width, net.some, net.rest = 4, 5, 7
    x = images()
    anatomy = layers(net, x)
    assert not anatomy.unit["a"].held and not anatomy.unit["q"].held
    small = apply(allocations.by_channels(anatomy, {"a": [1, 5], "q": [0, 3]}), net, x)
    assert (small.width, small.some, small.rest, small.q.out_channels) == (3, 5, 7, 3)
    with torch.no_grad():
        for layer, fallen in ((net.b, [1]), (net.c, [1]), (net.d, [0, 3])):
            layer.weight[:, fallen] = 0
        assert torch.allclose(small(x), net(x), atol=1e-6)


def shared(n, x):
    """Halves what comes in by a number that is also that of what comes out."""
    first, second = n.a(x).split(n.width // 2, 1)
    return n.d((n.b(first) + n.c(second)).relu())


def test_a_unit_whose_number_is_that_of_another_too_is_held():
    net = Net(shared, a=conv(3, 8), b=conv(4, 8), c=conv(4, 8), d=conv(8, 4), fc=fc(4)).eval()
    net.width = 8
    anatomy = layers(net, images())
    by_layer = {layer.name: anatomy.unit[layer.unit] for layer in anatomy.layers}
    assert by_layer["a"].held.startswith("its number of channels is held by Net")
    assert not by_layer["b"].held
    small = apply(allocations.by_channels(anatomy, {"b": [0, 1, 6]}), net, images())
    assert (small.b.out_channels, small.width) == (5, 8)
