"""Constant folding: weights that are computed from parameters alone become parameters.

Weight norm, spectral norm, masks and standardised weights give the same at every pass, whatever the
images: what counts of a layer is the weight that comes out.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lesion.network.graph import Graph, Node, Ref, resolve
from lesion.network.rewrite import Builder

WEIGHTED = {  # calls that take a weight behind what they read, and then a bias
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "linear",
    "transposed_linear",
}


class Constants:
    """The values of nodes that do not depend on the inputs, computed when asked for."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.varying = graph, graph.varying()
        self._values: dict[int, Any] = {}

    def __contains__(self, ref: Any) -> bool:
        return isinstance(ref, Ref) and ref.index not in self.varying

    def __getitem__(self, index: int) -> Any:
        if index not in self._values:
            self._values[index] = self._computed(self.graph.nodes[index])
        return self._values[index]

    def _computed(self, node: Node) -> Any:
        if node.kind == "parameter":
            return self.graph.parameters[node.name]
        assert node.op is not None
        with torch.no_grad():
            return node.op(*resolve(node.args, self), **resolve(node.kwargs, self))


def folded(graph: Graph) -> Graph:
    """The graph with parameters in place of weights and biases that are computed without inputs."""
    wanted = dict(_computed(graph))
    if not wanted:
        return graph
    constants, builder, equal = Constants(graph), Builder(graph), _equal(graph)
    for node in graph.nodes:
        first = equal.get(node.index, node.index)
        if node.index not in wanted:
            builder.refs[node.index] = builder.copy(node)
        elif first in wanted and first < node.index:
            builder.refs[node.index] = builder.refs[first]
        else:
            value = constants[node.index].detach()
            name = _name(builder, value, node.index, *wanted[node.index])
            sources = [builder.refs[index] for index in _sources(graph, node.index)]
            module = wanted[node.index][0].module
            builder.refs[node.index] = builder.parameter(name, value, sources, module)
    return builder.built()


def _computed(graph: Graph) -> Iterator[tuple[int, tuple[Node, str]]]:
    """The nodes that give layers their weights and biases, and are no parameters but could be."""
    varying = graph.varying()
    for node in graph.nodes:
        if node.operation not in WEIGHTED:
            continue
        for argument, leaf in zip(node.args[1:3], ("weight", "bias"), strict=False):
            index = argument.index if isinstance(argument, Ref) else None
            if index is not None and graph.nodes[index].kind == "call" and index not in varying:
                yield index, (node, leaf)


def _equal(graph: Graph) -> dict[int, int]:
    """For each constant call the first that computes the same of the same parameters."""
    varying, first, equal = graph.varying(), dict[Any, int](), dict[int, int]()
    for node in graph.nodes:
        if node.kind == "call" and node.index not in varying:
            same = {index: Ref(equal.get(index, index)) for index in node.inputs}
            key = (node.op, repr(resolve((node.args, node.kwargs), same)))
            equal[node.index] = first.setdefault(key, node.index)
    return equal


def _sources(graph: Graph, index: int) -> list[int]:
    """The parameters that a node is computed from, in order of the graph."""
    above = _above(graph, index)
    return [node.index for node in graph.nodes if node.index in above and node.kind == "parameter"]


def _above(graph: Graph, index: int) -> set[int]:
    """A node and all that it is computed from."""
    above, todo = {index}, [index]
    while todo:
        new = set(graph.nodes[todo.pop()].inputs) - above
        above |= new
        todo.extend(new)
    return above


def _name(builder: Builder, value: Tensor, index: int, layer: Node, leaf: str) -> str:
    """A name for a computed weight: that of the module's own parameter where it replaces it."""
    graph = builder.graph
    sources = [graph.nodes[at].name for at in _sources(graph, index)]
    largest = max(sources, key=lambda name: graph.parameters[name].numel(), default=layer.name)
    plain = f"{layer.module}.{leaf}" if layer.module else largest
    if plain not in builder.parameters or _replaces(graph, plain, value, index):
        return plain
    base = layer.module or largest.rpartition(".")[0] or largest
    return new_name(builder, f"{base}.{layer.name}.{leaf}")


def new_name(builder: Builder, name: str) -> str:
    """A name that no parameter has yet."""
    number, candidate = 1, name
    while candidate in builder.parameters:
        number, candidate = number + 1, f"{name}.{number + 1}"
    return candidate


def _replaces(graph: Graph, name: str, value: Tensor, index: int) -> bool:
    """Whether a parameter serves for nothing but a value of its shape."""
    start = next((node.index for node in graph.nodes if node.name == name), None)
    if start is None or graph.parameters[name].shape != value.shape:
        return False
    above, users, todo = _above(graph, index), graph.users(), [start]
    while todo:
        at = todo.pop()
        if at not in above:
            return False
        todo.extend(users[at] if at != index else ())
    return True
