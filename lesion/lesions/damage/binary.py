"""binary: weights as a sum of scaled signs (Rastegari et al. 2016; Li et al. 2017)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from lesion.compression.footprint import Footprint, Shape
from lesion.lesions.weight_damage import BITS, WeightDamage

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(eq=False)
class Binary(WeightDamage):
    """Weights as a sum of scaled signs; an amount is how many, each a bit a weight: 1 is the binary
    weight network's.

    per: "channel", scales for each filter, or "tensor".  Batch norm is not folded.
    """

    per: Literal["channel", "tensor"] = "channel"

    word = "binary"
    amounts = replace(
        BITS, grid=(4, 3, 2, 1), low=0, high=8, example="1 keeps the sign and one factor."
    )

    def left(self, shape: Shape, amount: float) -> Footprint:
        """The signs, and a factor of each."""
        scales = int(amount) * (shape.filters if self.per == "channel" else 1)
        return shape.quantised(int(amount), scales)

    def change(self, shape: Shape, amount: float, seed: int) -> "Callable[[Tensor], Tensor]":
        """See `lesion.compression.levels.binary`."""
        from lesion.compression.levels import binary

        return partial(binary, order=int(amount), per=self.per)


damage = Binary()
