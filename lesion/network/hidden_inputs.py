"""Values of a record that are of its images though no operation shows from where they come.

A record holds what left torch on the way (`.data`, `.numpy()`, `.tolist()`) as constants.  Those
that are others with other images may come from any layer that ran before.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from lesion.network.graph import Graph, Node, Ref
from lesion.network.rewrite import Builder

HIDDEN = "hidden"  # the name of the call that stands for a way that is not seen
NUMBERS = {"item", "_local_scalar_dense"}  # ways out of torch that a record does show


def others(batch: Any) -> Any:
    """The batch with each image in the place of the one before; noise where that is the same."""
    return pytree.tree_map_only(Tensor, _others, batch)


def _others(images: Tensor) -> Tensor:
    turned = images.roll(1, 0) if images.dim() else images
    if images.is_floating_point() and turned.equal(images):
        noise = torch.Generator().manual_seed(0)
        return images + torch.randn(images.shape, generator=noise).to(images)
    return turned


def with_hidden(graph: Graph, again: Graph) -> Graph:
    """The graph of a record in which values that other images change hang on all before them.

    again: the record with other images
    """
    changed = _changed(graph, again)
    if not changed:
        return graph
    builder, varying, before = Builder(graph), graph.varying(), list[Ref]()
    for node in graph.nodes:
        for index in changed.intersection(node.inputs):
            if graph.nodes[index].kind == "parameter":
                builder.refs[index] = _hidden(builder, graph.nodes[index], before)
                changed.discard(index)
        builder.refs[node.index] = builder.copy(node)
        if node.kind == "call" and node.index in changed:
            builder.refs[node.index] = _hidden(builder, node, before)
        if node.kind == "call" and node.index in varying:
            before.append(builder.refs[node.index])
    return builder.built()


def _hidden(builder: Builder, node: Node, before: list[Ref]) -> Ref:
    return builder.call(node, HIDDEN, _first, builder.refs[node.index], *before)


def _first(value: Any, *_: Any) -> Any:
    return value


def _changed(graph: Graph, again: Graph) -> set[int]:
    """Constants, and calls with numbers, that are others in the second record."""
    nodes = [(node, _like(again, node)) for node in graph.nodes]
    shown = any(node.operation in NUMBERS for node in graph.nodes)
    return {
        node.index
        for node, second in nodes
        if (node.kind == "parameter" and not _same(graph, again, node))
        or (node.kind == "call" and not shown and repr(node.args) != repr(second and second.args))
    }


def _like(graph: Graph, node: Node) -> Node | None:
    """The node at the same place in another graph, if it is of the same kind."""
    second = graph.nodes[node.index] if node.index < len(graph.nodes) else None
    same = second is not None and (second.kind, second.name) == (node.kind, node.name)
    return second if same else None


def _same(graph: Graph, again: Graph, node: Node) -> bool:
    value, second = graph.parameters[node.name], again.parameters.get(node.name)
    if second is None or value.shape != second.shape:
        return False
    try:
        return torch.equal(value, second)
    except RuntimeError:  # what is left of a vmap can no more be compared
        return False
