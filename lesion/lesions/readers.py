"""Which weights read channels, in a network that runs as a whole."""

from collections import Counter
from collections.abc import Collection, Iterable

import numpy as np
import torch
from torch import Tensor, nn

from lesion.lesions.removal import along_weight
from lesion.network.anatomy import keeps
from lesion.network.dissection import Dissection
from lesion.network.graph import state_of
from lesion.network.labels import Edge
from lesion.network.rules.layers import CONVOLUTIONS, TRANSPOSED


class Readers:
    """The weights of the modules that run, and what reads each of them.

    Channels that only columns of such weights read are cut by zeros in these columns, whatever a
    module does to its input before its own operation.
    """

    def __init__(self, dissection: Dissection, modules: Collection[str]) -> None:
        """modules: the names of those that hold parameters and run, each as often as it runs"""
        self.dissection, self._runs = dissection, Counter(modules)
        self._tensors: dict[int, int] = {}  # which tensor each parameter's node is
        self._users: dict[int, set[int]] = {}  # which operations read each tensor
        graph, state = dissection.graph, dict(state_of(dissection.call.network))
        self._held = {name for name in state if name.rpartition(".")[0] in modules}
        ran, users = {id(state[name]) for name in self._held}, graph.users()
        for node in graph.nodes:
            if node.kind == "parameter" and id(state.get(node.name)) in ran:
                tensor = self._tensors[node.index] = id(state[node.name])
                self._users.setdefault(tensor, set()).update(users[node.index])

    def holds(self, name: str) -> bool:
        """Whether a parameter is one of a module that runs."""
        return name in self._held

    def runs(self, module: str) -> int:
        """How often a module runs for a batch."""
        return self._runs[module]

    def beyond(self, edges: Iterable[Edge]) -> str:
        """The first place where no weight's columns are all that reads the channels of edges; ""
        if there is none."""
        reading: dict[int, list[Edge]] = {}
        for edge in edges:
            if (weight := self._weight(edge)) is None:
                return self._place(edge)
            reading.setdefault(weight, []).append(edge)
        for weight, read in reading.items():
            alike = all(edge.labels.equal(read[0].labels) for edge in read)
            if not alike or {edge.node for edge in read} != self._users[weight]:
                return self._place(read[0])
        return ""

    def columns(
        self, edges: Iterable[Edge], dropped: np.ndarray, network: nn.Module
    ) -> dict[str, Tensor]:
        """By a weight's name its columns that read what falls, as booleans; of edges that no
        weight's columns read there are none, see `beyond`."""
        columns: dict[str, Tensor] = {}
        for edge in edges:
            if self._weight(edge) is None:
                continue
            node = self.dissection.graph.nodes[edge.node]
            name = self.dissection.graph.nodes[node.args[1].index].name
            keep = torch.from_numpy(keeps(edge.labels.numpy(), dropped)).reshape(-1)
            gone = ~along_weight(node.name, tensor_of(network, name), keep)
            columns[name] = columns[name] | gone if name in columns else gone
        return columns

    def _weight(self, edge: Edge) -> int | None:
        """The tensor whose columns read an edge's channels, None where there is none."""
        if edge.role != "read":
            return None
        node = self.dissection.graph.nodes[edge.node]
        if node.name not in CONVOLUTIONS | TRANSPOSED | {"linear"}:
            return None
        return self._tensors.get(node.args[1].index)

    def _place(self, edge: Edge) -> str:
        """Where an edge is: the layer, or the operation."""
        nodes, layers = self.dissection.graph.nodes, self.dissection.anatomy.layers
        if edge.node >= len(nodes):
            return "the outputs"
        names = {layer.weight: layer.name for layer in layers}
        read = [nodes[index].name for index in nodes[edge.node].inputs]
        return next((names[name] for name in read if name in names), nodes[edge.node].name)


def put_value(network: nn.Module, name: str, value: Tensor) -> None:
    """Gives a parameter a value; a bias that its module lacks becomes one, which learns where the
    weight does."""
    owner, _, last = name.rpartition(".")
    module = network.get_submodule(owner)
    tensor = getattr(module, last)
    if tensor is None:
        setattr(module, last, nn.Parameter(value, tensor_of(module, "weight").requires_grad))
    else:
        tensor.data = value


def tensor_of(network: nn.Module, name: str) -> Tensor:
    """The tensor of a network under its dotted name."""
    owner, _, last = name.rpartition(".")
    tensor: Tensor = getattr(network.get_submodule(owner), last)
    return tensor
