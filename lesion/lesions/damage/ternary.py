"""ternary: weights as −α, 0 or α (Li et al. 2016)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from lesion.compression.footprint import Footprint, Shape
from lesion.lesions.weight_damage import BITS, WeightDamage

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(eq=False)
class Ternary(WeightDamage):
    """Weights as −α, 0 or α, stored in two bits: the one amount that there is.

    threshold: 0 where |w| is at most so much of its mean; per: "channel", an α for each filter, or
        "tensor".  Batch norm is not folded.
    """

    threshold: float = 0.7
    per: Literal["channel", "tensor"] = "channel"

    word = "ternary"
    amounts = replace(BITS, grid=(2,), high=2, example="2 is all there is.")

    def left(self, shape: Shape, amount: float) -> Footprint:
        """Two bits a weight, and α."""
        return shape.quantised(2, shape.filters if self.per == "channel" else 1)

    def change(self, shape: Shape, amount: float, seed: int) -> "Callable[[Tensor], Tensor]":
        """See `lesion.compression.levels.ternary`."""
        from lesion.compression.levels import ternary

        return partial(ternary, threshold=self.threshold, per=self.per)


damage = Ternary()
