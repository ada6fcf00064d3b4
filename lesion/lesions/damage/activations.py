"""activations: what a layer reads in few bits (Krishnamoorthi 2018; Nagel et al. 2021)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lesion.compression.footprint import Footprint, Shape
from lesion.lesions.input_damage import Clip, InputDamage, rounding, spans
from lesion.lesions.layer_damage import bits_of, check_percentile

if TYPE_CHECKING:
    from torch import Tensor

    from lesion.compression.value_counts import ValueCounts


@dataclass(eq=False)
class Activations(InputDamage):
    """What a layer reads, rounded to 2^bits equal steps, asymmetric, one range for all of it.

    An amount is the number of bits.  The range holds 0, and is that of the values that the layer
    reads on calibration images: clip "max", "percentile" (with its number) or "mse", see
    `lesion.compression.tensors.span`; of one pass over the images come the ranges of all bits.
    """

    clip: Clip = "max"
    percentile: float = 99.9

    word = "activations"
    amounts = bits_of("inputs", "with inputs in 32 bits", "8 reads in 256 steps, 2 in four.")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_percentile(self.percentile)

    def calibration(self, counts: "ValueCounts") -> np.ndarray:
        """The range for each number of bits."""
        return spans(counts, self.clip, self.percentile)

    def left(self, shape: Shape, amount: float) -> Footprint:
        """As it is, but for what is multiplied; the step of the input counts for nothing."""
        return shape.intact(int(amount))

    def change(self, amount: float, known: np.ndarray) -> "Callable[[Tensor], Tensor]":
        """See `lesion.compression.tensors.rounded`."""
        return rounding(int(amount), known)


damage = Activations()
