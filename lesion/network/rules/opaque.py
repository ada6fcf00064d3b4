"""Operations behind which no channel can be followed, and values that have no channels."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from lesion.network.anatomy import CONSTANT
from lesion.network.graph import Node
from lesion.network.hidden_inputs import HIDDEN
from lesion.network.labels import FIXED, everywhere
from lesion.network.walk import Rule, Walk

PRODUCTS = {"baddbmm", "addmm"}
FILLS = {
    "zeros",
    "zeros_like",
    "new_zeros",
    "ones",
    "ones_like",
    "new_ones",
    "full",
    "full_like",
    "new_full",
    "scalar_tensor",
}


def unknown(walk: Walk, node: Node, value: Any) -> Any:
    """Ties the channels that enter, and says in a note that they cannot be followed."""
    reason = f"enters {node.name}, behind which channels cannot be followed"
    operands = [labels for _, labels in walk.operands(node)]
    for labels in operands:
        walk.out.tie(labels, reason)
    if any(map(walk.out.active, operands)):
        walk.out.notes.append(f"{node.module or 'the network'}: what {reason}")
    return fixed(value)


def product(walk: Walk, node: Node, value: Any) -> Any:
    """A product of activations that is not taken apart: ties the channels that enter."""
    multiplied(walk, node, [labels for _, labels in walk.operands(node)])
    return fixed(value)


def multiplied(walk: Walk, node: Node, several: Iterable[Tensor]) -> None:
    """Ties channels that a product multiplies and sums in another way than one by one."""
    for labels in several:
        walk.out.tie(labels, f"is summed against other activations in {node.name}")


def hidden(walk: Walk, node: Node, value: Any) -> Any:
    """A value that comes from the images in a way that is not seen: any layer before may act."""
    for _, labels in walk.operands(node):
        walk.out.tie(labels, "may act on others through values that leave torch (.data, .numpy())")
    return fixed(value)


def number(walk: Walk, node: Node, value: Any) -> None:
    """A number that is no shape: what it does cannot be followed, so that its channels are tied."""
    if isinstance(value, (bool, int, float)) and not node.name.startswith("sym_"):
        for _, labels in walk.operands(node):
            walk.out.tie(labels, f"is turned into a number by {node.name}")


def fill(walk: Walk, node: Node, value: Tensor) -> Tensor:
    """A value made of one number: no channel is in it."""
    return everywhere(CONSTANT, value.dim())


def fixed(value: Any) -> Any:
    """Labels for a tensor, or several, whose channels nothing can remove."""
    if isinstance(value, Tensor):
        return everywhere(FIXED, value.dim())
    return [fixed(part) for part in value]


RULES: dict[str, Rule] = {
    **dict.fromkeys(PRODUCTS, product),
    **dict.fromkeys(FILLS, fill),
    HIDDEN: hidden,
}
