"""Damages of what one layer reads, by ranges that are frozen before: what they have in common."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from lesion.errors import LesionError
from lesion.lesions.layer_damage import LayerDamage
from lesion.lesions.lesion import Lesion

if TYPE_CHECKING:
    from torch import Tensor

    from lesion.compression.value_counts import ValueCounts
    from lesion.lesions.edits import Edit
    from lesion.network.dissection import Dissection

IMAGES = 1024
FEWEST, MOST = 2, 16  # bits
Clip = Literal["max", "percentile", "mse"]


@dataclass(eq=False)
class InputDamage(LayerDamage):
    """A damage that lets what a layer reads pass through a function, value by value.

    images: how many calibration images it sees
    """

    images: int = IMAGES

    def change(self, amount: float, known: np.ndarray) -> "Callable[[Tensor], Tensor]":
        """What is done to what a layer reads; it can be pickled.

        known: what `calibration` gave for the layer
        """
        raise NotImplementedError

    def edit(self, dissection: "Dissection", lesion: Lesion, scores: np.ndarray | None) -> "Edit":
        """What the layer reads goes through the function, wherever it runs."""
        from lesion.lesions.value_edits import Values

        assert scores is not None
        change = self.change(lesion.amount, scores)
        return Values.of(dissection, lesion.target, f"{change}", before=change)


def check_counts(counts: "ValueCounts") -> None:
    """Raises LesionError for values that have no range."""
    if not np.isfinite(counts.high):
        raise LesionError("what it reads on the calibration images is not finite")
    if counts.zeros == counts.count:
        raise LesionError("it reads nothing but zeros on the calibration images")


def spans(counts: "ValueCounts", clip: Clip, percentile: float) -> np.ndarray:
    """The ranges for 2 to 16 bits, one behind the other, see `lesion.compression.tensors.span`.

    Raises LesionError where there is none.
    """
    from lesion.compression.tensors import span

    check_counts(counts)
    widths = range(FEWEST, MOST + 1)
    return np.array([span(counts, bits, clip, percentile) for bits in widths]).flatten()


def rounding(bits: int, known: np.ndarray) -> "Callable[[Tensor], Tensor]":
    """Rounding to so many bits in the range that `spans` has for it."""
    from lesion.compression.tensors import Rounding

    low, high = known.reshape(-1, 2)[bits - FEWEST].tolist()
    return Rounding(bits, low, high)
