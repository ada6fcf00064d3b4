"""Reductions, and what is computed along an axis: over pixels, over branches, over channels.

Over pixels every channel stays itself.  Over branches that lie on an axis of their own the channels
of one place fall together, as in a sum.  Over all channels it is computed of those that stay.
"""

from typing import Any

from torch import Tensor

from lesion.network.anatomy import CONSTANT
from lesion.network.graph import Node
from lesion.network.labels import Edge, everywhere
from lesion.network.rules.elementwise import pointwise
from lesion.network.rules.opaque import unknown
from lesion.network.signatures import argument, takes
from lesion.network.walk import Rule, Walk

SUMS = {"mean", "sum", "nansum", "nanmean"}
STATISTICS = {
    *SUMS,
    "amax",
    "amin",
    "max",
    "min",
    "var",
    "std",
    "var_mean",
    "std_mean",
    "prod",
    "logsumexp",
    "linalg_vector_norm",
    "norm",
    "median",
    "nanmedian",
    "aminmax",
    "any",
    "all",
    "count_nonzero",
}
PLACES = {"argmax", "argmin"}
PLACED = {"max", "min", "median", "nanmedian"}  # with the place of what they find
SOFTMAX = {"softmax", "log_softmax", "_softmax", "_log_softmax", "_safe_softmax"}
ALONG = {"cumsum", "cumprod", "logcumsumexp", "sort", "topk", "cummax", "cummin", "argsort"}


def reduce(walk: Walk, node: Node, value: Any) -> Any:
    """The labels that are left when axes are reduced."""
    if node.op is not None and takes(node.op, "other"):  # max(a, b): elementwise
        return pointwise(walk, node, value)
    labels = walk.labels_of(node.args[0].index)
    axes = _axes(node, labels.dim())
    crossed = [axis for axis in axes if labels.shape[axis] > 1]
    if crossed:
        left = [axis for axis in range(labels.dim()) if axis not in axes and labels.shape[axis] > 1]
        if left and walk.out.active(labels):
            labels = _united(walk, node, labels, crossed)
        elif _over_channels(walk, node, labels, crossed):
            labels = everywhere(CONSTANT, labels.dim())
        else:
            return unknown(walk, node, value)
    first = value if isinstance(value, Tensor) else value[0]
    if first.dim() < labels.dim():
        labels = labels.squeeze(axes)
    return labels if isinstance(value, Tensor) else [labels] * len(value)


def along(walk: Walk, node: Node, value: Any) -> Any:
    """The labels of what is computed along an axis and keeps it, such as a softmax."""
    labels = walk.labels_of(node.args[0].index)
    (axis,) = _axes(node, labels.dim())[-1:]
    if labels.shape[axis] > 1:
        left = any(size > 1 for dim, size in enumerate(labels.shape) if dim != axis)
        if node.name not in SOFTMAX:
            return unknown(walk, node, value)
        if left and walk.out.active(labels):
            _united(walk, node, labels, [axis])
        elif not _over_channels(walk, node, labels, [axis]):
            return unknown(walk, node, value)
    return labels if isinstance(value, Tensor) else [labels] * len(value)


def _axes(node: Node, rank: int) -> list[int]:
    """The axes that a call names, all of them where it names none."""
    assert node.op is not None
    named = argument(node.op, node.args, node.kwargs, "dim")
    if named is None or named == []:
        return list(range(rank))
    return sorted({int(axis) % rank for axis in ([named] if isinstance(named, int) else named)})


def _united(walk: Walk, node: Node, labels: Tensor, crossed: list[int]) -> Tensor:
    """One label for what lies along the crossed axes, which falls together."""
    shape = [1 if axis in crossed else size for axis, size in enumerate(labels.shape)]
    role = "sum" if node.name in SUMS else "meet"
    result = walk.out.fresh(tuple(shape))
    walk.out.edges.append(Edge(node.index, 0, labels, role))
    walk.out.unite(labels, result, role)
    return result


def _over_channels(walk: Walk, node: Node, labels: Tensor, crossed: list[int]) -> bool:
    """Whether it can be computed of those channels that stay; then there is an edge for them.

    Not so where the axis is that of the images, and where places among the channels are asked for.
    """
    if len(crossed) > 1 or crossed == [0] or _places(walk, node) or not walk.out.active(labels):
        return False
    walk.out.edges.append(Edge(node.index, 0, labels, "norm"))
    return True


def _places(walk: Walk, node: Node) -> bool:
    """Whether somebody asks for the place of a maximum, say, beside its value."""
    readers = [walk.graph.nodes[index] for index in walk.users[node.index]]
    second = any(reader.name == "getitem" and reader.args[1] == 1 for reader in readers)
    return node.name in PLACES or (node.name in PLACED and second)


RULES: dict[str, Rule] = {
    **dict.fromkeys(STATISTICS | PLACES, reduce),
    **dict.fromkeys(SOFTMAX | ALONG, along),
}
