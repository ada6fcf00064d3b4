"""weight_threshold: weights that are small for their layer are zero (Han et al. 2015)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lesion.compression.footprint import Saving, Shape
from lesion.lesions.amounts import Amounts
from lesion.lesions.damage import Settings
from lesion.lesions.layer_damage import shape_of
from lesion.lesions.lesion import Lesion, Skipped, Target
from lesion.lesions.weight_damage import WeightDamage
from lesion.network.anatomy import Anatomy

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(eq=False)
class WeightThreshold(WeightDamage):
    """Weights are zero whose absolute value is below a threshold, q times the standard deviation of
    the layer's weights (Han et al. 2015, section 3: the quality parameter); an amount is q.

    How many are zero then depends on the weights; a lesion saves what `sparsity` of grain weight
    does with as many zeros.

    Batch norm is not folded.
    """

    word = "weight_threshold"
    weighs = True
    mixes = False
    amounts = Amounts(
        (0.25, 0.5, 1.0, 1.5, 2.0),
        "quality parameter",
        "threshold, in deviations of the weights",
        "σ",
        of=" of its weights as the threshold",
        example="0.5 makes weights zero that are below half of their standard deviation.",
        spared="dense",
    )

    def lesion(
        self,
        anatomy: Anatomy,
        target: Target,
        amount: float,
        scores: np.ndarray | None,
        settings: Settings,
    ) -> Lesion | Skipped:
        """The lesion with its number of zeros, or that there are none."""
        from lesion.compression.grains import below

        assert scores is not None
        if not below(scores, amount).any():
            text = f"{self.amounts.text(amount)}: none of its weights is below it"
            return Skipped(target.name, target.kind, text)
        return super().lesion(anatomy, target, amount, scores, settings)

    def footprint(
        self, anatomy: Anatomy, lesion: Lesion, scores: np.ndarray | None = None
    ) -> Saving | None:
        """What is not zero, and a bit for each weight that says whether it is; None without the
        weight."""
        from lesion.compression.grains import below

        if scores is None:
            return None
        shape = shape_of(anatomy.layer[lesion.target])
        stays = scores.size - int(below(scores, lesion.amount).sum())
        return Saving(shape.intact(), shape.sparse(stays, scores.size))

    def change(self, shape: Shape, amount: float, seed: int) -> "Callable[[Tensor], Tensor]":
        """See `lesion.compression.grains.without_below`."""
        from lesion.compression.grains import without_below

        return partial(without_below, deviations=amount)


damage = WeightThreshold()
