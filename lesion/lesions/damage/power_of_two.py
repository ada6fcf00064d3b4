"""power_of_two: weights as 0 or ± a power of two (Zhou et al. 2017, before retraining)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from lesion.compression.footprint import Footprint, Shape
from lesion.lesions.weight_damage import BITS, WeightDamage

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(eq=False)
class PowerOfTwo(WeightDamage):
    """Weights as 0 or ± a power of two; an amount is the number of bits, one of them for 0.

    Batch norm is not folded.
    """

    word = "power_of_two"
    amounts = replace(BITS, grid=(5, 4, 3), high=8, example="5 keeps 8 powers and 0.")

    def left(self, shape: Shape, amount: float) -> Footprint:
        """The bits, and the largest power."""
        return shape.quantised(int(amount), 1)

    def change(self, shape: Shape, amount: float, seed: int) -> "Callable[[Tensor], Tensor]":
        """See `lesion.compression.levels.power_of_two`."""
        from lesion.compression.levels import power_of_two

        return partial(power_of_two, bits=int(amount))


damage = PowerOfTwo()
