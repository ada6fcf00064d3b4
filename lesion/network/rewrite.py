"""A graph built anew, node by node: nodes are copied, put in or left out, and numbered again."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from lesion.network.graph import Graph, Node, Ref, resolve


class Builder:
    """Takes the nodes of a graph in order, and makes another of them.

    refs: for each node of the graph that was taken what stands for it in the new one
    """

    def __init__(self, graph: Graph) -> None:
        self.graph, self.refs = graph, dict[int, Ref]()
        self.nodes: list[Node] = []
        self.parameters = dict(graph.parameters)

    def copy(self, node: Node) -> Ref:
        """The node as it is."""
        args, kwargs = resolve(node.args, self.refs), resolve(node.kwargs, self.refs)
        return self._add(node.kind, node.name, node.op, args, kwargs, node.module)

    def call(self, like: Node, name: str, op: Callable[..., Any], *args: Any) -> Ref:
        """An operation on values of the new graph, in the module of a node of the old one."""
        return self._add("call", name, op, args, {}, like.module)

    def parameter(self, name: str, value: Tensor, sources: Sequence[Ref], module: str) -> Ref:
        """A tensor that is computed from parameters, for the layer of a module."""
        self.parameters[name] = value
        return self._add("parameter", name, None, tuple(sources), {}, module)

    def built(self) -> Graph:
        """The new graph, without calls that neither its output nor the network's own code needs."""
        output = self.refs[self.graph.output].index
        others = tuple(self.refs[index].index for index in self.graph.others)
        wanted = {output, *others, *(node.index for node in self.nodes if node.operation == "item")}
        for node in reversed(self.nodes):
            if node.index in wanted:
                wanted.update(node.inputs)
        whole = Graph(tuple(self.nodes), self.parameters, output, others)
        calls = {node.index for node in self.nodes if node.kind == "call"}
        return whole if calls <= wanted else _without(whole, calls - wanted)

    def _add(self, kind: str, name: str, op: Any, args: Any, kwargs: Any, module: str) -> Ref:
        index = len(self.nodes)
        self.nodes.append(Node(index, kind, name, op, tuple(args), kwargs, module))
        return Ref(index)


def _without(graph: Graph, dead: set[int]) -> Graph:
    builder = Builder(graph)
    for node in graph.nodes:
        if node.index not in dead:
            builder.refs[node.index] = builder.copy(node)
    return builder.built()
