"""What a sequential study asks of every lesion, and how the answers are kept.

Image i scores base_i in the intact network and l_i in a lesioned one; its drop is D_i = base_i −
l_i.  All values are proportions, not points.
"""

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import NamedTuple

import numpy as np

from lesion.errors import LesionError

Array = np.ndarray
SLACK = 1e-9  # what sums of fractional scores may lose to rounding, an image


class Verdict(str, Enum):
    """What is known of "the drop is at most the tolerance": it holds, it fails, or neither."""

    SAFE = "safe"
    SENSITIVE = "sensitive"
    UNDECIDED = "undecided"


class Forecast(NamedTuple):
    """A guess for each cell that may steer what is measured next, never a claim.

    safe: probability that the drop is within the tolerance; drop: its estimate; images: how many
    more until a verdict, at most those left
    """

    safe: Array
    drop: Array
    images: Array


class Intervals(NamedTuple):
    """Estimated drops and the ends of their intervals, one entry a cell."""

    drop: Array
    low: Array
    high: Array


@dataclass(frozen=True, eq=False)
class Question:
    """Is the mean drop at most `tolerance`? Fixed before an outcome is seen.

    base: (N,) scores of the intact network in [0, 1], in the study's random order
    margin: (N,) how far the intact network is from changing its answer (only |margin| counts), or
        None where nothing is known
    estimand: "set" for the mean drop on these N images, "population" for its expectation where they
        are independent draws
    hits: every lesioned score is 0 or 1 too, which makes the sums whole numbers and saves a few
        images
    """

    tolerance: float
    base: Array
    margin: Array | None = None
    estimand: str = "set"
    hits: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1:
            raise LesionError(
                f"Expected a tolerance between 0 and 1, a proportion, got {self.tolerance}."
            )
        if self.estimand not in ("set", "population"):
            raise LesionError(
                f'Expected the estimand "set" or "population", got {self.estimand!r}.'
            )
        object.__setattr__(self, "base", _scores(self.base))
        if self.margin is not None:
            object.__setattr__(self, "margin", _margins(self.margin, len(self.base)))
        if self.hits and not self.binary:
            raise LesionError("Expected base scores of 0 or 1 where scores are hits: hits=False.")

    @property
    def images(self) -> int:
        """N."""
        return len(self.base)

    @cached_property
    def binary(self) -> bool:
        """Whether the intact network's scores are all 0 or 1."""
        return bool(np.isin(self.base, (0, 1)).all())

    @cached_property
    def bars(self) -> tuple[float, float]:
        """The least ΣD if the cell is not SAFE, and the largest if it is not SENSITIVE."""
        if self.hits and self.estimand == "set":
            most = np.floor(self.tolerance * self.images + SLACK)
            return float(most + 1), float(most)
        return (self.tolerance * self.images,) * 2

    @cached_property
    def limit(self) -> float:
        """The largest ΣD over all images that is SAFE."""
        return self.bars[1] + (0 if self.hits else SLACK * self.images)


def _scores(base: Array) -> Array:
    base = np.array(base, float)
    if base.ndim != 1 or not len(base) or not ((base >= 0) & (base <= 1)).all():
        raise LesionError("Expected base scores between 0 and 1, one for each of some images.")
    return base


def _margins(margin: Array, images: int) -> Array:
    margin = np.array(margin, float)
    if margin.shape != (images,) or not np.isfinite(margin).all():
        raise LesionError(
            f"Expected a finite margin for each of {images} images, got shape {margin.shape}."
        )
    return margin
