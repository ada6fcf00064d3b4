"""Products of activations: matrices whose channels are kept, and those whose channels are summed.

A product that sums over pixels or tokens (of features with a mask, of values with the weights of
attention) keeps the channels.  One that sums over channels, as of queries and keys, has none: those
at one place are multiplied with each other alone, so that they fall together and count as zero.
Heads lie on an axis of their own, of which every matrix stays and loses as many channels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lesion.network.graph import Node, Ref
from lesion.network.labels import FIXED, Edge, everywhere, ids
from lesion.network.rules import opaque
from lesion.network.rules.elementwise import Operand, meet
from lesion.network.signatures import argument
from lesion.network.walk import Rule, Walk

MATRICES = {"matmul", "bmm", "mm"}
ATTENTION = "scaled_dot_product_attention"


@dataclass(frozen=True)
class Factor:
    """One factor of a product: its position among the arguments, its labels and shape, and a letter
    for each axis, as in einsum."""

    position: int
    labels: Tensor
    shape: tuple[int, ...]
    letters: str

    @property
    def varying(self) -> str:
        """The axes along which its labels change."""
        sizes = zip(self.letters, self.labels.shape, strict=True)
        return "".join(letter for letter, size in sizes if size > 1)

    @property
    def wide(self) -> str:
        """The axes that are longer than 1."""
        sizes = zip(self.letters, self.shape, strict=True)
        return "".join(letter for letter, size in sizes if size > 1)


def product(walk: Walk, node: Node, value: Any) -> Any:
    """The labels of a product of two values."""
    tensors = walk.tensors(node)
    axes = _axes(node, [walk.values[index].dim() for _, index in tensors])
    if axes is None:
        return opaque.product(walk, node, value)
    *inputs, out = axes
    pairs = zip(tensors, inputs, strict=True)
    factors = [_factor(walk, position, index, letters) for (position, index), letters in pairs]
    return _multiplied(walk, node, factors, out)


def attention(walk: Walk, node: Node, value: Any) -> Any:
    """The labels of what attention gives: those of its values.

    Without a scale of its own it divides by the root of the number of channels that it is given,
    which is a statistic over channels.
    """
    assert node.op is not None
    given = node.args[:3]
    mask, scale, grouped = (
        argument(node.op, node.args, node.kwargs, name)
        for name in ("attn_mask", "scale", "enable_gqa")
    )
    masked = isinstance(mask, Ref) and walk.out.active(walk.labels_of(mask.index))
    if len(given) < 3 or masked or any(walk.values[ref.index].dim() < 2 for ref in given):
        return opaque.product(walk, node, value)
    batch = "abcfghij"[: value.dim() - 2]
    q, k, v = (
        _factor(walk, place, ref.index, batch[len(batch) + 2 - walk.values[ref.index].dim() :] + of)
        for place, (ref, of) in enumerate(zip(given, ("ld", "sd", "se"), strict=True))
    )
    if grouped:
        k, v = (_for_each_head(factor, q.shape[-3]) for factor in (k, v))
    weights = _multiplied(walk, node, (q, k), f"{batch}ls", "norm" if scale is None else "read")
    shape = (*value.shape[:-1], v.shape[-2])
    return _multiplied(walk, node, (Factor(-1, weights, shape, f"{batch}ls"), v), f"{batch}le")


def _factor(walk: Walk, position: int, index: int, letters: str) -> Factor:
    return Factor(position, walk.labels_of(index), tuple(walk.values[index].shape), letters)


def _for_each_head(factor: Factor, heads: int) -> Factor:
    """Keys or values of which several heads read one."""
    *before, own, tokens, channels = factor.shape
    labels = factor.labels.expand(*factor.labels.shape[:-3], own, *factor.labels.shape[-2:])
    labels = labels.repeat_interleave(heads // own, -3)
    return Factor(factor.position, labels, (*before, heads, tokens, channels), factor.letters)


def _multiplied(
    walk: Walk, node: Node, factors: Sequence[Factor], out: str, role: str = "read"
) -> Tensor:
    """The labels of a product of two factors; role: of the edge where channels are summed."""
    active = [factor for factor in factors if walk.out.active(factor.labels)]
    if any(set(factor.varying) - set(out) for factor in active):
        return _summed(walk, node, factors, out, role)
    if not active:
        return _tied(walk, node, factors, out)
    if len(active) == 1:
        (carrier,) = active
        (weights,) = (factor for factor in factors if factor is not carrier)
        rows = set(carrier.varying).intersection(weights.wide)
        if rows and set(carrier.varying) - rows:
            carried = _moved(carrier.labels, carrier.letters, out)
            _by_rows(walk, carried, [out.index(x) for x in rows])
            return carried
    return meet(walk, node, [_operand(factor, out) for factor in factors])


def _summed(walk: Walk, node: Node, factors: Sequence[Factor], out: str, role: str) -> Tensor:
    """Channels of two factors that are multiplied with each other alone, and then summed."""
    first, second = factors
    both = "".join(letter for letter in first.letters if letter in second.letters)
    labels = [_moved(factor.labels, factor.letters, both) for factor in factors]
    alone = any(set(factor.varying) - set(both) for factor in factors)
    summed = all(set(factor.varying) - set(out) for factor in factors)
    made = all(map(walk.out.active, labels))
    if alone or not summed or not made or not bool(((labels[0] >= 0) == (labels[1] >= 0)).all()):
        return _tied(walk, node, factors, out)
    result = walk.out.fresh(np.broadcast_shapes(*(part.shape for part in labels)))
    for factor, part in zip(factors, labels, strict=True):
        walk.out.edges.append(Edge(node.index, factor.position, factor.labels, "gate"))
        walk.out.unite(part, result, "gate")
    walk.out.edges.append(Edge(node.index, first.position, first.labels, role))
    _by_rows(walk, result, [both.index(x) for x in both if x in out])
    return everywhere(FIXED, len(out))


def _by_rows(walk: Walk, labels: Tensor, rows: Sequence[int]) -> None:
    """Every matrix of a product stays, and loses as many channels as the others."""
    rows = sorted(axis for axis in rows if labels.shape[axis] > 1)
    if rows:
        rest = [axis for axis in range(labels.dim()) if axis not in rows]
        count = math.prod(labels.shape[axis] for axis in rows)
        walk.out.cells.append(ids(labels.permute(*rows, *rest)).reshape(count, -1))


def _operand(factor: Factor, out: str) -> Operand:
    """A factor as the product has its axes."""
    shape = torch.empty(factor.shape, device="meta")
    labels, shape = (_moved(part, factor.letters, out) for part in (factor.labels, shape))
    return Operand(factor.position, labels, tuple(shape.shape))


def _tied(walk: Walk, node: Node, factors: Sequence[Factor], out: str) -> Tensor:
    """A product in which the channels of some factors cannot be followed."""
    opaque.multiplied(walk, node, [factor.labels for factor in factors])
    return everywhere(FIXED, len(out))


def _axes(node: Node, ranks: list[int]) -> list[str] | None:
    """A letter for each axis of both operands and of the result, as in einsum; None if not so."""
    if node.name == "einsum":
        left, arrow, out = str(node.args[0]).replace(" ", "").partition("->")
        letters = [*left.split(","), out]
        plain = arrow and "".join(letters).isalpha() and len(letters) == len(ranks) + 1 == 3
        return letters if plain and all(len(set(side)) == len(side) for side in letters) else None
    if min(ranks) < 2:
        return None
    batch = "abcdefgh"[: max(ranks) - 2]
    first, second = (batch[len(batch) - rank + 2 :] for rank in ranks)
    return [f"{first}ik", f"{second}kj", f"{batch}ij"]


def _moved(x: Tensor, letters: str, out: str) -> Tensor:
    """x at one place of the axes that are summed, its others as in the result, 1 where absent."""
    for place in reversed(range(len(letters))):
        if letters[place] not in out:
            x = x.select(place, 0)
    kept = [axis for axis in letters if axis in out]
    x = x.permute([kept.index(axis) for axis in out if axis in kept])
    return x[tuple(slice(None) if axis in kept else None for axis in out)]


RULES: dict[str, Rule] = {
    **dict.fromkeys(MATRICES | {"einsum"}, product),
    ATTENTION: attention,
}
