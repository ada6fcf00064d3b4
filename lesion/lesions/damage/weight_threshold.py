"""weight_threshold: weights that are small for their layer are zero (Han et al. 2015)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lesion.compression.footprint import Footprint, Shape
from lesion.lesions.amounts import Amounts
from lesion.lesions.weighed_damage import WeighedDamage

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(eq=False)
class WeightThreshold(WeighedDamage):
    """Weights are zero whose absolute value is below a threshold, q times the standard deviation of
    the layer's weights (Han et al. 2015, section 3: the quality parameter); an amount is q.

    How many are zero then depends on the weights; a lesion saves what `sparsity` of grain weight
    does with as many zeros.

    Batch norm is not folded.
    """

    word = "weight_threshold"
    amounts = Amounts(
        (0.25, 0.5, 1.0, 1.5, 2.0),
        "quality parameter",
        "threshold, in deviations of the weights",
        "σ",
        of=" of its weights as the threshold",
        example="0.5 makes weights zero that are below half of their standard deviation.",
        spared="dense",
    )

    def nothing_in(self, shape: Shape, weight: np.ndarray, amount: float) -> str:
        """Where no weight is below the threshold."""
        from lesion.compression.grains import below

        return "" if below(weight, amount).any() else "none of its weights is below it"

    def left_of(self, shape: Shape, weight: np.ndarray, amount: float) -> Footprint:
        """What is not zero, and a bit for each weight that says whether it is."""
        from lesion.compression.grains import below

        return shape.sparse(weight.size - int(below(weight, amount).sum()), weight.size)

    def change(self, shape: Shape, amount: float, seed: int) -> "Callable[[Tensor], Tensor]":
        """See `lesion.compression.grains.without_below`."""
        from lesion.compression.grains import without_below

        return partial(without_below, deviations=amount)


damage = WeightThreshold()
