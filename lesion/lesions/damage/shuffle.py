"""shuffle: the weights of a layer in another order, a control that saves nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from lesion.compression.footprint import Shape
from lesion.lesions.amounts import Amounts
from lesion.lesions.weight_damage import WeightDamage

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(eq=False)
class Shuffle(WeightDamage):
    """A share of a layer's weights, drawn at random, in a random order;
    an amount is the share.  Biases and batch norms stay.
    """

    word = "shuffle"
    amounts = Amounts(
        (0.1, 0.25, 0.5, 1.0),
        "share of weights",
        "weights shuffled",
        "%",
        100.0,
        of=" of its weights shuffled",
        high=1.0,
        example="0.5 takes half of the weights.",
        closed=True,
        spared="as it is",
    )

    def nothing(self, shape: Shape, amount: float) -> str:
        """Where a share, rounded, is none."""
        few = round(amount * shape.numbers) == 0
        return f"of {shape.numbers} weights, rounded, is none" if few else ""

    def change(self, shape: Shape, amount: float, seed: int) -> "Callable[[Tensor], Tensor]":
        """See `lesion.compression.disturbance.shuffled`."""
        from lesion.compression.disturbance import shuffled

        return partial(shuffled, share=amount, seed=seed)


damage = Shuffle()
