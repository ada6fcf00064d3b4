"""dorefa: weights in equal steps from −1 to 1, squashed before (Zhou et al. 2016)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from lesion.compression.footprint import Footprint, Shape
from lesion.lesions.weight_damage import BITS, WeightDamage

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(eq=False)
class Dorefa(WeightDamage):
    """Weights as DoReFa-Net has them; an amount is the number of bits.

    Their scale is another one than before, so that batch norm has to be estimated anew
    (`--recover bn`).  Batch norm is not folded.
    """

    word = "dorefa"
    amounts = replace(BITS, grid=(8, 4, 3, 2, 1), low=0, example="1 keeps −1 and 1.")

    def left(self, shape: Shape, amount: float) -> Footprint:
        """The bits; the steps are the same for all."""
        return shape.quantised(int(amount), 0)

    def change(self, shape: Shape, amount: float, seed: int) -> "Callable[[Tensor], Tensor]":
        """See `lesion.compression.levels.dorefa`."""
        from lesion.compression.levels import dorefa

        return partial(dorefa, bits=int(amount))


damage = Dorefa()
