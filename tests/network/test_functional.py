"""Operations in place become new values: graphs give what the network gives, and change nothing."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torches import since

from lesion.network.graph import Graph
from lesion.network.program import Run, compile_program
from lesion.network.record import record
from lesion.network.trace import TraceError, trace


def relu(net, x):
    return F.relu(x, inplace=True)


def read_again(net, x):
    y = F.relu(x, inplace=True)
    return x + y


def without_dropout(net, x):
    y = F.dropout(x, 0.5, False)  # the very same tensor
    y.add_(1)
    return x * y


def activations(net, x):
    y = F.hardswish(x, True) + F.silu(net.d(x), True)
    return F.relu6(y, True) + F.leaky_relu(net.d(y), 0.1, True)


def several(net, x):
    return x.mul_(2).add_(net.k).clamp_(max=1.5).neg_()


def masked(net, x):
    x[x < 0] = 0
    return x.masked_fill_(x > 0.5, 0.2)


def booleans(net, x):
    inside = x > 0
    inside &= x < 1
    return x * inside


def out(net, x):
    y = torch.empty_like(x)
    torch.add(x, 1, out=y)
    torch.mul(y, 2, out=y)
    return y


def narrower(net, x):
    y = x.half()
    y.add_(torch.full((8, 1, 1), 0.3))  # of a wider type, which is not taken on
    return y.float()


def last_view(net, x):
    return x.flatten(1).relu_().reshape(x.shape[0], 8, 6, 6)


def copied_parameter(net, x):
    weight = net.d.weight.clone()
    weight.mul_(2)
    return F.conv2d(x, weight, padding=1)


def whole_chunk(net, x):
    (y,) = x.chunk(1, 1)
    x.add_(1)
    return y


def of_a_slice(net, x):
    x[:, :4].add_(1)
    return x


def of_slices(net, x):
    inner = x[:, 2:6][:, 1, ::2]
    inner.mul_(2)
    x[:, 2:6].sub_(inner.mean())
    x[0].add_(1)
    x[:, -1, 2:].relu_()
    return x + x[:, 3:4]


def numbered_windows(net, x):
    mask = x.new_zeros((6, 6))
    for number, rows in enumerate((slice(0, -3), slice(-3, -1), slice(-1, None))):
        mask[rows, 2:] = number
    return x * (mask.unsqueeze(0) - mask.unsqueeze(1)).ne(0)[:1]


def kept_slice(net, x):
    y = x[:, :4]
    y.add_(1)
    x[:, :4].mul_(3)
    return torch.cat([y, x[:, 4:]], 1)


def of_a_slice_that_overlaps(net, x):
    y = x[:, :4]
    x[:, 2:6].add_(1)
    return torch.cat([y, y], 1)


def of_a_view(net, x):
    x.view(x.shape[0], -1).relu_()
    return x


def chained(net, x):
    y = x[:, 2:6][:, :, 1:]
    y.mul_(2)
    x.transpose(1, 2).neg_()
    return x + y.mean()


def seen_through_a_view(net, x):
    y = x[:, :4]
    x.add_(3)
    return torch.cat([y, y], 1)


def of_a_chunk(net, x):
    a, b = x.chunk(2, 1)
    a += b
    return x


def copied_into(net, x):
    y = torch.zeros_like(x)
    y[:, :4] = x[:, 4:]
    y[:, 4:].copy_(x[:, :4])
    return y


def other_shape(net, x):
    x.unsqueeze_(0)
    x.squeeze_(0)
    return x


def expanded(net, x):
    y = x.mean((2, 3), keepdim=True)
    wide = y.expand_as(x)
    y.add_(1)
    return x * wide


def at_once(net, x):
    y = net.d(x)
    torch._foreach_add_([x, y], 1.0)
    return x + y


def by_index(net, x):
    return x.index_add_(1, torch.tensor([0, 1]), x[:, 2:4].clone())


SAME = since("2.11", "torch.export takes what dropout gives back for another tensor")
OURS = (relu, read_again, pytest.param(without_dropout, marks=SAME), activations, several, masked,
        booleans, out, narrower, last_view, copied_parameter, whole_chunk, of_a_slice, of_slices,
        numbered_windows, kept_slice, copied_into)  # fmt: skip
TORCHS = (of_a_slice_that_overlaps, of_a_view, chained, seen_through_a_view, of_a_chunk,
          other_shape, expanded, at_once, by_index)  # fmt: skip


class Net(nn.Module):
    def __init__(self, step, wayward: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.c, self.d = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.register_buffer("k", torch.ones(8, 1, 1))
        self.step, self.wayward = step, wayward

    def forward(self, x: Tensor) -> Tensor:
        if self.wayward and float(x.max()) < -1e9:
            x = x + 1
        return self.d(self.step(self, self.c(x)))


class OnInput(Net):
    def forward(self, x: Tensor) -> Tensor:
        x.sub_(0.5).div_(2)
        return super().forward(x) + x.mean()


def plain(network: nn.Module, x: Tensor) -> Tensor:
    return network(x)


def mutable(graph: Graph) -> list[str]:
    schemas = [(node.name, getattr(node.op, "_schema", None)) for node in graph.nodes]
    return [name for name, schema in schemas if schema is not None and schema.is_mutable]


@torch.no_grad()
def check(graph: Graph, network: nn.Module, x: Tensor) -> None:
    """The graph on images that were not traced, beside the network; both get their own copy."""
    given = x.clone()
    got = Run(compile_program(graph, lay_out=False), (given,)).output()
    assert torch.equal(given, x) and mutable(graph) == []
    assert torch.equal(got, network(x.clone()))


@pytest.mark.parametrize("step", [*OURS, *TORCHS], ids=lambda step: step.__name__)
def test_a_graph_gives_what_the_network_gives_and_changes_nothing(step):
    network = Net(step).eval()
    graph = trace(network, plain, torch.randn(2, 3, 6, 6))
    check(graph, network, torch.randn(5, 3, 6, 6))


@pytest.mark.parametrize("step", OURS, ids=lambda step: step.__name__)
def test_what_is_read_in_one_way_alone_is_rewritten_without_a_second_trace(step, monkeypatch):
    monkeypatch.setattr(torch.export.ExportedProgram, "run_decompositions", None)
    network = Net(step).eval()
    check(trace(network, plain, torch.randn(2, 3, 6, 6)), network, torch.randn(3, 3, 6, 6))


@pytest.mark.parametrize("step", [*OURS, *TORCHS], ids=lambda step: step.__name__)
def test_so_does_the_record_of_one_that_cannot_be_traced(step):
    network, x = Net(step, wayward=True).eval(), torch.randn(2, 3, 6, 6)
    with pytest.raises(TraceError):
        trace(network, plain, x)
    check(record(network, plain, x), network, x)


@pytest.mark.parametrize("wayward", [False, True])
def test_an_input_that_is_changed_is_left_to_whom_it_belongs(wayward):
    network, x = OnInput(relu, wayward).eval(), torch.randn(2, 3, 6, 6)
    given = x.clone()
    graph = record(network, plain, given) if wayward else trace(network, plain, given)
    assert torch.equal(given, x)
    check(graph, network, x)
