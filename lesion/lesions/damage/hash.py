"""hash: weights that share values by chance, a control (Chen et al. 2015)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from lesion.compression.footprint import Footprint, Shape
from lesion.lesions.amounts import FILTERS
from lesion.lesions.ratios import kept
from lesion.lesions.weight_damage import WeightDamage

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(eq=False)
class Hash(WeightDamage):
    """Weights ± the mean of a bucket into which a hash has put them; an amount is the share of
    values that is saved.  Always far worse than `codebook`.  Batch norm is not folded.
    """

    word = "hash"
    amounts = replace(
        FILTERS,
        grid=(0.5, 0.75, 0.875),
        called="share of values saved",
        title="values that are saved",
        of=" fewer values",
        example="0.5 keeps half as many values as weights.",
    )

    def nothing(self, shape: Shape, amount: float) -> str:
        """Where as many values stay as there are weights."""
        few = kept(shape.numbers, amount) == shape.numbers
        return f"of {shape.numbers} values, rounded, is none" if few else ""

    def left(self, shape: Shape, amount: float) -> Footprint:
        """The values."""
        return shape.hashed(kept(shape.numbers, amount))

    def change(self, shape: Shape, amount: float, seed: int) -> "Callable[[Tensor], Tensor]":
        """See `lesion.compression.codebooks.hashed`."""
        from lesion.compression.codebooks import hashed_by_chance

        return partial(hashed_by_chance, values=kept(shape.numbers, amount), seed=seed)


damage = Hash()
