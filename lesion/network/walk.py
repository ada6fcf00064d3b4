"""The walk: one pass over the graph on which every value goes with its labels.

The walk computes the values; what an operation does to labels is the answer of a rule.
"""

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lesion.network.anatomy import CONSTANT
from lesion.network.canonical import making_weights
from lesion.network.graph import Graph, Node, Ref, resolve
from lesion.network.labels import FIXED, Coupling, Edge, everywhere
from lesion.network.shared_weights import shared

Rule = Callable[["Walk", Node, Any], Any]


class Walk:
    """Values of the nodes that are still needed, labels of all, and what the labels told so far.

    rule: gives the labels of a call's value; what it learns on the way it notes in `out`
    varying: the nodes that depend on the inputs; shared: weights that have other uses too;
        making: those whose values end in a layer's weight
    """

    def __init__(
        self,
        graph: Graph,
        tensors: tuple[Tensor, ...],
        rule: Rule,
        out: Coupling | None = None,
    ) -> None:
        """out: what is known already"""
        self.graph, self.rule = graph, rule
        self.inputs, self.images = iter(tensors), tensors[0].shape[0]
        self.values: dict[int, Any] = {}
        self.labels: dict[int, Any] = {}
        self.varying, self.shared = graph.varying(), shared(graph)
        self.making = making_weights(graph)
        self.out = out or Coupling(graph)

    @cached_property
    def users(self) -> list[list[int]]:
        """For each node the nodes that read it."""
        return self.graph.users()

    def go(self) -> Coupling:
        """Everything that the labels told, once the output is reached."""
        last = self.graph.last_use()
        ends: dict[int, list[int]] = {}
        for index, end in enumerate(last):
            ends.setdefault(end, []).append(index)
        for node in self.graph.nodes:
            self._step(node)
            for index in ends.get(node.index, ()):
                self.values.pop(index, None)
        for index in (self.graph.output, *self.graph.others):
            labels = self.labels_of(index)
            if isinstance(labels, Tensor):
                self.out.tie(labels, "its channels are the network's outputs")
                self.out.edges.append(Edge(len(self.graph.nodes), 0, labels, "output"))
        return self.out

    def _step(self, node: Node) -> None:
        if node.kind == "input":
            self.values[node.index] = value = next(self.inputs)
            self.out.sizes[node.index] = _bytes(value) // self.images
            self.labels[node.index] = everywhere(FIXED, value.dim())
        elif node.kind == "parameter":
            self.values[node.index] = self.graph.parameters[node.name]
        else:
            assert node.op is not None
            value = node.op(*resolve(node.args, self.values), **resolve(node.kwargs, self.values))
            self.values[node.index] = value
            self.out.sizes[node.index] = _bytes(value) // self.images
            self.labels[node.index] = self.rule(self, node, value)

    def labels_of(self, index: int) -> Any:
        """The labels of a node; a parameter gets them when first asked."""
        if index not in self.labels:
            node = self.graph.nodes[index]
            shape = tuple(self.values[index].shape)
            if node.name not in self.out.axes:
                scalar = math.prod(shape) <= 1
                self.out.axes[node.name] = (
                    torch.full(shape, float(CONSTANT)) if scalar else self.out.fresh(shape, True)
                )
            self.labels[index] = self.out.axes[node.name]
        return self.labels[index]

    def whole(self, index: int) -> Tensor:
        """The labels of a node in the shape of its value."""
        labels: Tensor = self.labels_of(index)
        return labels.expand(self.values[index].shape).contiguous()

    def tensors(self, node: Node) -> list[tuple[int, int]]:
        """The tensor arguments of a call as (position, node), lists of tensors flattened."""
        operands = []
        for position, argument in enumerate(node.args):
            for element in argument if isinstance(argument, (list, tuple)) else [argument]:
                if isinstance(element, Ref) and isinstance(self.values[element.index], Tensor):
                    operands.append((position, element.index))
        return operands

    def operands(self, node: Node) -> list[tuple[int, Tensor]]:
        """The tensor arguments of a call as (position, labels), lists of tensors flattened."""
        return [(position, self.labels_of(index)) for position, index in self.tensors(node)]


def _bytes(value: Any) -> int:
    several = value if isinstance(value, (list, tuple)) else [value]
    tensors = [element for element in several if isinstance(element, Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
