"""Products of activations: matrices whose channels are kept, and those whose channels are summed.

A product that sums over pixels (of features with a mask, say) keeps the channels; one that sums
over channels, as attention does, ties them, and so does one of several heads.
"""

from typing import Any

from torch import Tensor

from lesion.network.graph import Node
from lesion.network.rules import opaque
from lesion.network.rules.elementwise import Operand, meet
from lesion.network.walk import Rule, Walk

MATRICES = {"matmul", "bmm", "mm"}


def product(walk: Walk, node: Node, value: Any) -> Any:
    """The labels of a product, if none that it sums over is a layer's channel."""
    tensors = walk.tensors(node)
    axes = _axes(node, [walk.values[index].dim() for _, index in tensors])
    if axes is None:
        return opaque.product(walk, node, value)
    *inputs, out = axes
    labels = [walk.labels_of(index) for _, index in tensors]
    varying = [
        [axis for axis, size in zip(letters, part.shape, strict=True) if size > 1]
        for letters, part in zip(inputs, labels, strict=True)
        if walk.out.active(part)
    ]
    if not varying or any(len(along) > 1 or set(along) - set(out) for along in varying):
        return opaque.product(walk, node, value)
    operands = [
        Operand(
            position, _moved(part, letters, out), _moved(walk.values[index], letters, out).shape
        )
        for (position, index), part, letters in zip(tensors, labels, inputs, strict=True)
    ]
    return meet(walk, node, operands)


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


RULES: dict[str, Rule] = dict.fromkeys(MATRICES | {"einsum"}, product)
