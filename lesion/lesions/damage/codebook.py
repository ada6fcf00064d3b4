"""codebook: weights that share 2^bits values of a layer (Gong et al. 2014; Han et al. 2016)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from lesion.compression.footprint import Footprint, Shape
from lesion.lesions.weight_damage import BITS, WeightDamage

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(eq=False)
class Codebook(WeightDamage):
    """Weights replaced by the centroids of 2^bits clusters; an amount is the number of bits.

    fit: "optimal", or "lloyd" for layers of millions of weights, where the best takes minutes;
        see `lesion.compression.codebooks.codebook`.  Batch norm is not folded.
    """

    fit: Literal["optimal", "lloyd"] = "optimal"

    word = "codebook"
    slow = True
    amounts = replace(BITS, grid=(6, 4, 3, 2, 1), low=0, high=8, example="4 keeps 16 values.")

    def nothing(self, shape: Shape, amount: float) -> str:
        """Where there are as many values as weights."""
        few = 2 ** int(amount) >= shape.numbers
        return f"it has no more than {shape.numbers} weights" if few else ""

    def left(self, shape: Shape, amount: float) -> Footprint:
        """An index for each weight, and the table."""
        return shape.shared(int(amount), 2 ** int(amount))

    def change(self, shape: Shape, amount: float, seed: int) -> "Callable[[Tensor], Tensor]":
        """See `lesion.compression.codebooks.codebook`."""
        from lesion.compression.codebooks import codebook

        return partial(codebook, values=2 ** int(amount), fit=self.fit)


damage = Codebook()
