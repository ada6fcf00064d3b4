"""activation_threshold: the smallest values that a layer reads are zero (Kurtz et al. 2020)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lesion.compression.footprint import Footprint, Shape
from lesion.lesions.amounts import Amounts
from lesion.lesions.damage import Settings
from lesion.lesions.input_damage import InputDamage, check_counts
from lesion.lesions.lesion import Lesion, Skipped, Target
from lesion.network.anatomy import Anatomy

if TYPE_CHECKING:
    from torch import Tensor

    from lesion.compression.value_counts import ValueCounts

STEPS = 1000  # of a share


@dataclass(eq=False)
class ActivationThreshold(InputDamage):
    """What a layer reads is zero where its absolute value is below a threshold.

    An amount is the share of the values that are zero then.  The threshold is the one with which
    this share of what the layer reads on calibration images is zero, to a thousandth of them.
    What is zero anyway, as behind a ReLU, counts: up to that share nothing happens.
    """

    word = "activation_threshold"
    amounts = Amounts(
        (0.5, 0.6, 0.7, 0.8, 0.9),
        "share of zeros",
        "inputs that are zero",
        "%",
        100.0,
        of=" of its inputs zero",
        high=1.0,
        example="0.7 leaves three of ten values.",
        spared="with its inputs as they are",
    )

    def calibration(self, counts: "ValueCounts") -> np.ndarray:
        """The share of zeros, and the thresholds of shares from 0 to 1, in thousandths."""
        check_counts(counts)
        thresholds = counts.magnitude(np.arange(STEPS + 1) / STEPS)
        return np.array([counts.zeros / counts.count, *thresholds])

    def lesion(
        self,
        anatomy: Anatomy,
        target: Target,
        amount: float,
        scores: np.ndarray | None,
        settings: Settings,
    ) -> Lesion | Skipped:
        """The lesion, or that as many are zero anyway."""
        assert scores is not None
        if threshold(amount, scores) == 0:
            text = f"{self.amounts.text(amount)}: {100 * scores[0]:.1f} % of what it reads is zero"
            return Skipped(target.name, target.kind, text)
        return super().lesion(anatomy, target, amount, scores, settings)

    def left(self, shape: Shape, amount: float) -> Footprint:
        """With multiply-accumulates of values that are not zero."""
        return shape.reading(1 - amount)

    def change(self, amount: float, known: np.ndarray) -> "Callable[[Tensor], Tensor]":
        """See `lesion.compression.tensors.without_small`."""
        from lesion.compression.tensors import without_small

        return partial(without_small, threshold=threshold(amount, known))


def threshold(amount: float, known: np.ndarray) -> float:
    """That of a share, the nearest thousandth."""
    return float(known[1 + round(STEPS * amount)])


damage = ActivationThreshold()
