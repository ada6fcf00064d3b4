"""Elementwise operations: labels that meet are united, in a sum, a product or otherwise."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lesion.network.anatomy import CONSTANT
from lesion.network.graph import Node
from lesion.network.labels import FIXED, Edge, compress, everywhere
from lesion.network.rules.opaque import unknown
from lesion.network.walk import Rule, Walk

SUMS = {"add", "sub", "rsub"}
GATES = {"mul", "div", "glu"}
POINTWISE = {  # most of torch's elementwise operations say so by a tag, these do not
    "dropout",
    "feature_dropout",
    "alpha_dropout",
    "feature_alpha_dropout",
    "prelu",
    "fill",
    "hardswish",
    "hardtanh",
    "hardsigmoid",
    "relu6",
    "silu",
    "mish",
    "elu",
    "celu",
    "selu",
    "gelu",
    "softplus",
    "leaky_relu",
    "log_sigmoid",
    "softsign",
    "rrelu",
    "threshold",
    "clamp",
}


@dataclass(frozen=True)
class Operand:
    """One operand, aligned with the result as torch broadcasts it: position, labels and shape."""

    position: int
    labels: Tensor
    shape: tuple[int, ...]

    def varies(self, axes: Iterable[int], how: Callable[[Iterable[bool]], bool]) -> bool:
        """Whether its labels change along all, or any, of these axes."""
        return how(self.labels.shape[axis] > 1 for axis in axes)


def pointwise(walk: Walk, node: Node, value: Tensor) -> Tensor:
    """The labels of operands that meet position by position, aligned as torch broadcasts them."""
    rank = value.dim()
    operands = []
    for position, index in walk.tensors(node):
        labels, shape = walk.labels_of(index), tuple(walk.values[index].shape)
        if not shape and not walk.out.active(labels):
            continue
        if node.name == "prelu" and position == 1 and shape[0] > 1:  # its slopes lie on axis 1
            shape, labels = (*shape, *(1,) * (rank - 2)), labels.reshape(-1, *(1,) * (rank - 2))
        pad = (1,) * (rank - len(shape))
        operands.append(Operand(position, labels.reshape(*pad, *labels.shape), (*pad, *shape)))
    if not operands:
        return everywhere(CONSTANT, rank)
    return meet(walk, node, operands)


def meet(walk: Walk, node: Node, operands: list[Operand]) -> Tensor:
    """The labels of an elementwise result: those that meet are united.

    A layer's value that has one channel where others have several is broadcast: that channel acts
    on others.  Anything else of size 1 there (a mask, a scalar) is left out.
    """
    active = [operand for operand in operands if walk.out.active(operand.labels)]
    rank = max(operand.labels.dim() for operand in operands)
    axes = [axis for axis in range(rank) if any(o.labels.shape[axis] > 1 for o in active)]
    if axes and not any(operand.varies(axes, all) for operand in active):
        return _outer(walk, node, operands)
    full = []
    for operand in operands:
        if not walk.out.active(operand.labels):
            how = any if bool((operand.labels == FIXED).any()) else all
            passive = bool((operand.labels >= 0).any())  # by column, where channels lie in rows
            columns = passive and bool(axes) and operand.labels.shape[axes[-1]] > 1
            if not axes or columns or how(operand.shape[axis] > 1 for axis in axes):
                full.append((operand.position, operand.labels))
                if axes and bool((operand.labels == CONSTANT).all()):  # made of so many channels
                    walk.out.numbered += [walk.out.of_layers(made.labels) for made in active]
        elif not axes or operand.varies(axes, any):
            full.append((operand.position, operand.labels))
        else:
            _broadcast(walk, node, operand)
    return join(walk, node, full)


def _outer(walk: Walk, node: Node, operands: list[Operand]) -> Tensor:
    """No operand has all the channels of the result: those that there are, are tied."""
    for operand in operands:
        walk.out.tie(operand.labels, f"is multiplied out in {node.name}")
    return everywhere(FIXED, operands[0].labels.dim())


def _broadcast(walk: Walk, node: Node, operand: Operand) -> None:
    """One channel that acts on others: a sum reads it, and elsewhere zero is not its absence."""
    if node.name in SUMS:
        walk.out.edges.append(Edge(node.index, operand.position, operand.labels, "read"))
    else:
        reason = f"acts on other channels in {node.name}, where zero is not its absence"
        walk.out.tie(operand.labels, reason)


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
    distinct: dict[tuple[int, ...], tuple[int, Tensor]] = {}
    for position, labels in operands:
        distinct.setdefault((*labels.shape, *labels.reshape(-1).tolist()), (position, labels))
    return list(distinct.values())


def cast(walk: Walk, node: Node, value: Tensor) -> Any:
    """The labels of what is given in another type, whichever tensor says in which."""
    return walk.labels_of(node.args[0].index)


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


RULES: dict[str, Rule] = {
    **dict.fromkeys(POINTWISE, pointwise),
    **dict.fromkeys(("to", "_to_copy", "type_as"), cast),
    "glu": halves,
    "copy": copy,
}
