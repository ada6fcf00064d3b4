"""Graphs are functional, whether torch.export's is taken as it is or has to be rewritten."""

import networks
import pytest
import small_networks
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lesion import layers
from lesion.network import graph as graphs
from lesion.network import trace
from lesion.network.dissect import dissect
from lesion.network.graph import Graph
from lesion.network.program import Run, compile_program


def plain_forward(network: nn.Module, x: Tensor) -> Tensor:
    return network(x)


def traced(network: nn.Module, x: Tensor) -> Graph:
    return trace.trace(network.eval(), plain_forward, x)


def small(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    network = small_networks.NETWORKS[name]().eval()
    return network, torch.randn(2, *getattr(network, "shape", (3, 6, 6)))


@pytest.mark.parametrize(
    "name",
    ["three_dimensions", "grouped_and_shuffled", "flattened", "gated_halves", "norm_over_tokens",
     "squeeze_and_excite", "transformer"],
)  # fmt: skip
@torch.no_grad()
def test_a_graph_taken_as_it_is_says_what_the_rewritten_one_says(name, monkeypatch):
    network, x = small(name)
    monkeypatch.setattr(torch.export.ExportedProgram, "run_decompositions", None)
    direct = dissect(network, plain_forward, x)
    monkeypatch.undo()
    monkeypatch.setattr(trace, "rewritten", lambda graph: False)
    rewritten = dissect(network, plain_forward, x)
    assert direct.anatomy == rewritten.anatomy
    programs = (compile_program(dissection.graph) for dissection in (direct, rewritten))
    first, second = (Run(program, (x,)).output() for program in programs)
    assert torch.equal(first, second)


def test_batch_norm_has_one_form():
    graph = traced(networks.Plain(), torch.randn(2, 1, 8, 8))
    (norm,) = (node for node in graph.nodes if node.name == "batch_norm")
    assert norm.op is graphs.batch_norm
    assert norm.args[5:] == (1e-5,)


class InPlace(nn.Module):
    """A value that is read again after it was changed, and a constant made in the forward."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        y = F.relu(x, inplace=True)
        return (x + y * torch.tensor(3.0)).mean((2, 3))


@torch.no_grad()
def test_what_is_changed_in_place_is_rewritten():
    torch.manual_seed(0)
    network, x = InPlace(), torch.randn(2, 1, 8, 8)
    graph = traced(network, x)
    calls = [node for node in graph.nodes if node.kind == "call"]
    schemas = [node.op._schema for node in calls if hasattr(node.op, "_schema")]
    assert schemas and not any(schema.is_mutable for schema in schemas)
    assert torch.allclose(Run(compile_program(graph), (x,)).output(), network(x))


MOVES = {
    "swapdims": lambda x: x.swapdims(2, 3),
    "mT": lambda x: x.mT,
    "moveaxis": lambda x: torch.moveaxis(x, 2, 3),
    "broadcast_to": lambda x: x[:, :, :1].broadcast_to(x.shape),
    "reshape_as": lambda x: x.flatten(2).reshape_as(x),
    "numpy_T": lambda x: x.flatten(1).T.T.reshape(x.shape),
    "ravel": lambda x: x.ravel().reshape(x.shape),
    "hsplit": lambda x: torch.cat(torch.hsplit(x, 2), 1),
    "vsplit": lambda x: torch.cat(torch.vsplit(x.transpose(0, 1), 2)).transpose(0, 1),
    "dsplit": lambda x: torch.cat(torch.dsplit(x, 2), 2),
    "unsafe_chunk": lambda x: torch.cat(x.unsafe_chunk(2, 1), 1),
    "atleast_1d": torch.atleast_1d,
    "atleast_2d": torch.atleast_2d,
    "atleast_3d": torch.atleast_3d,
    "feature_alpha_dropout": lambda x: F.feature_alpha_dropout(x, training=False),
}


@pytest.mark.parametrize("name", MOVES)
def test_channels_are_followed_through_moves_that_are_not_rewritten(name, monkeypatch):
    monkeypatch.setattr(torch.export.ExportedProgram, "run_decompositions", None)
    network = networks.Plain()
    network.norm = nn.Module()
    network.norm.forward = MOVES[name]
    traced = layers(network, torch.randn(2, 1, 8, 8))
    assert traced.unit["a"].kind == "free"
    assert (traced.whole, traced.notes) == ("", ())


class Counting(networks.Plain):
    """Asks for the number of images in a way in which torch.export takes it for a constant."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.a(x)))
        return self.fc(torch.relu(self.b(x)).view(len(x), 8, -1).mean(2))


def test_a_number_of_images_that_became_a_constant_is_no_trace_for_any():
    with pytest.raises(trace.TraceError, match="works for batches of 2 images alone"):
        traced(Counting(), torch.randn(2, 1, 8, 8))
    assert layers(Counting().eval(), torch.randn(2, 1, 8, 8)).whole.startswith("its forward")


class Anchored(nn.Module):
    """Keeps what it made for the last batch's shape, as detectors keep their anchors."""

    shape = None

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        if self.shape != x.shape:
            self.anchors, self.shape = torch.arange(x.shape[-1]) * 1.0, x.shape
        return (self.a(x) + self.anchors).mean((2, 3))


def test_a_network_that_compares_a_batch_with_the_last_one_is_traced_for_any_number_of_images():
    network, x = Anchored(), torch.randn(2, 3, 4, 4)
    network(x)
    program = compile_program(traced(network, x))
    images = torch.randn(5, 3, 4, 4)
    with torch.no_grad():
        assert torch.allclose(Run(program, [images]).output(), network(images))
