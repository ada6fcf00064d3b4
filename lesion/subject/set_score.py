"""A score of a set of images that is no mean of theirs, and what chance does to it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lesion.errors import LesionError

if TYPE_CHECKING:
    from torch import Tensor

RESAMPLES, FEWEST = 200, 50


@dataclass(frozen=True)
class SetScore:
    """The score of a set of images, with what it is made of, image by image.

    What `evaluate` may return in place of a number, so that intervals stand behind its drops:
    torchmetrics' states are the model.

    parts: of each image what the score takes from it, such as its confusion matrix, or its
        detections beside the true boxes: a list, or an array or tensor with images first, in the
        same order at each call
    combine: gives the score of such parts, larger being better; where images are drawn again some
        are among them several times
    resamples: how often images are drawn again, at least 50

    Raises LesionError for less than two images, and for fewer resamples.

    >>> import numpy as np
    >>> from lesion import SetScore
    >>> hits = np.array([[8, 10], [3, 10], [9, 20]])  # of each image the pixels right, and all
    >>> SetScore(hits, lambda parts: 100 * parts[:, 0].sum() / parts[:, 1].sum()).value
    50.0
    """

    parts: "Sequence[Any] | np.ndarray | Tensor"
    combine: Callable[[Any], Any]
    resamples: int = RESAMPLES

    def __post_init__(self) -> None:
        if len(self.parts) < 2:
            raise LesionError(
                f"Expected parts of two images or more, got {len(self.parts)}; give one for each "
                "image, or return the number alone."
            )
        if self.resamples < FEWEST:
            raise LesionError(
                f"Expected {FEWEST} resamples or more, got {self.resamples}; fewer say too little "
                "of chance."
            )

    @property
    def images(self) -> int:
        """How many there are."""
        return len(self.parts)

    @property
    def value(self) -> float:
        """The score of all images."""
        return float(self.combine(self.parts))

    def resampled(self) -> "Resampled":
        """Its scores where as many images are drawn with replacement.

        The same images for all networks, so that differences are paired; of a stream that NumPy
        keeps as it is.
        """
        stream = np.random.RandomState(0)
        draws = (stream.randint(self.images, size=self.images) for _ in range(self.resamples))
        values = [float(self.combine(self._taken(rows))) for rows in draws]
        return Resampled(self.images, np.array(values))

    def _taken(self, rows: np.ndarray) -> Any:
        parts: Any = self.parts
        if hasattr(parts, "__array__"):  # a tensor has it too
            return parts[rows]
        return [parts[row] for row in rows]


@dataclass(frozen=True, eq=False)
class Resampled:
    """A score of a set of images, where as many are drawn from them again and again.

    images: how many there are; values: a score each time
    """

    images: int
    values: np.ndarray

    def alike(self, other: "Resampled", tolerance: float) -> bool:
        """Whether the values are of the same images in the same order, up to a share of each."""
        if (self.images, self.values.shape) != (other.images, other.values.shape):
            return False
        return bool(np.allclose(self.values, other.values, rtol=tolerance, atol=0, equal_nan=True))

    def half_width(self, other: "Resampled", level: float) -> float:
        """How far the interval of the difference to another network's score reaches to either side.

        Student's quantile times the bootstrap's standard error, which is of the empirical variance
        and so too small by √((n − 1) / n) (Efron and Tibshirani 1993, An introduction to the
        bootstrap, chapters 6 and 12; Hesterberg 2015, What teachers should know about the
        bootstrap, section 5.2).  NaN where a resample has no finite score, and where the other
        has not drawn the same.
        """
        from scipy.special import stdtrit  # late, so that reading a study is quick

        same = (self.images, self.values.shape) == (other.images, other.values.shape)
        differences = self.values - other.values if same else np.array([np.nan])
        if not np.isfinite(differences).all():
            return float("nan")
        error = differences.std(ddof=1) * np.sqrt(self.images / (self.images - 1))
        return float(stdtrit(self.images - 1, (1 + level) / 2) * error)
