"""Elementwise operations: labels that meet are united, in a sum, a product or otherwise."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lesion.anatomy import CONSTANT
from lesion.channels import FIXED, Edge, compress, everywhere
from lesion.rules.opaque import unknown
from lesion.tracing import Node
from lesion.walk import Rule, Walk

SUMS = {"add", "sub", "rsub"}
GATES = {"mul", "div", "glu"}
POINTWISE = {
    "dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "prelu", "_to_copy",
    "to", "fill", "hardswish", "hardtanh", "hardsigmoid", "relu6", "silu", "mish", "elu", "celu",
    "selu", "gelu", "softplus", "leaky_relu", "log_sigmoid", "softsign", "rrelu", "threshold",
    "clamp",
}  # fmt: skip  # most of torch's elementwise operations say so by a tag, these do not


def pointwise(walk: Walk, node: Node, value: Tensor) -> Tensor:
    """The labels of operands that meet position by position, aligned as torch broadcasts them."""
    rank = value.dim()
    operands = []
    for position, labels in walk.operands(node):
        shape = tuple(walk.values[node.args[position].index].shape)
        if not shape:
            continue
        if node.name == "prelu" and position == 1 and shape[0] > 1:  # its slopes lie on axis 1
            shape, labels = (*shape, *(1,) * (rank - 2)), labels.reshape(-1, *(1,) * (rank - 2))
        pad = (1,) * (rank - len(shape))
        operands.append((position, labels.reshape(*pad, *labels.shape), (*pad, *shape)))
    return _meet(walk, node, value, operands)


def _meet(
    walk: Walk, node: Node, value: Tensor, operands: list[tuple[int, Tensor, tuple[int, ...]]]
) -> Tensor:
    """The labels of an elementwise result: those that meet are united.

    An operand of size 1 where others have channels (a spatial gate, a scalar) is left out.
    """
    if not operands:
        return everywhere(CONSTANT, value.dim())
    varying = [
        any(labels.shape[axis] > 1 for _, labels, _ in operands) for axis in range(value.dim())
    ]
    full = [
        (position, labels)
        for position, labels, shape in operands
        if all(shape[a] == value.shape[a] for a in range(value.dim()) if varying[a])
    ]
    if not full and any(varying):  # an outer product: no operand has all the channels
        for _, labels, _ in operands:
            walk.out.tie(labels, f"is multiplied out in {node.name}")
        return everywhere(FIXED, value.dim())
    return join(walk, node, full)


def join(walk: Walk, node: Node, operands: list[tuple[int, Tensor]]) -> Tensor:
    """The labels of a result in which operands, given as (position, labels), fall together."""
    operands = _distinct(operands)
    active = [(p, labels) for p, labels in operands if walk.out.active(labels)]
    if len(active) > 1:
        role = "gate" if node.name in GATES else "sum" if node.name in SUMS else "meet"
        result = walk.out.fresh(np.broadcast_shapes(*(labels.shape for _, labels in operands)))
        for position, labels in active:
            walk.out.edges.append(Edge(node.index, position, labels, role))
    else:
        role, result = "same", (active or operands)[0][1]
    for _, labels in operands:
        if labels is not result:
            walk.out.unite(labels, result, role)
    if not active and any((labels == FIXED).any() for _, labels in operands):
        return torch.full_like(result[(slice(0, 1),) * result.dim()], FIXED)
    return result


def _distinct(operands: list[tuple[int, Tensor]]) -> list[tuple[int, Tensor]]:
    """The operands without those whose labels came before."""
    own: dict[tuple[int, ...], tuple[int, Tensor]] = {}
    for position, labels in operands:
        own.setdefault((*labels.shape, *labels.reshape(-1).tolist()), (position, labels))
    return list(own.values())


def halves(walk: Walk, node: Node, value: Tensor) -> Tensor:
    """A gated linear unit: the first half along an axis times a gate made of the second."""
    axis = int(node.args[1]) if len(node.args) > 1 else -1
    parts = walk.whole(node.args[0].index).chunk(2, axis)
    return join(walk, node, [(0, compress(part)) for part in parts])


def copy(walk: Walk, node: Node, value: Tensor) -> Any:
    """A copy of the second operand in the shape of the first; one in place is not followed."""
    if node.op._schema.is_mutable:  # type: ignore[union-attr]
        return unknown(walk, node, value)
    return compress(walk.whole(node.args[1].index).expand(value.shape))


RULES: dict[str, Rule] = {**dict.fromkeys(POINTWISE, pointwise), "glu": halves, "copy": copy}
