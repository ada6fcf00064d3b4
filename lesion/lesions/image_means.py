"""What criteria that see images have in common: a mean over images, kept as a sum."""

from torch import Tensor

from lesion.errors import LesionError
from lesion.lesions.criteria import Criterion, Filters


class ImageMeans(Criterion):
    """A criterion whose score is the mean of one number an image (or batch) and filter.

    A layer that runs at several places has each image at each of them.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def rows(self, values: Tensor) -> Tensor:
        """The numbers that some images give, (rows, filters): a row an image, or one for all of
        them where the definition is of batches.

        values: (images, filters, positions) in float64; where gradients are needed, each value
            times the loss's gradient, by how much the loss falls to first order if it becomes zero
        """
        raise NotImplementedError

    def update(self, layer: str, activation: Tensor, gradient: Tensor | None) -> None:
        """Adds up the rows."""
        values = activation.double()
        rows = self.rows(values if gradient is None else values * gradient.double())
        self._sums[layer] = self._sums.get(layer, 0) + rows.sum(0)
        self._counts[layer] = self._counts.get(layer, 0) + len(rows)

    def scores(self, filters: Filters) -> Tensor:
        """The mean over the rows. Raises LesionError where the loss depends on no filter."""
        means = self._sums[filters.layer] / self._counts[filters.layer]
        if self.needs == "gradients" and not means.any():
            raise LesionError("the loss does not depend on it")
        return means
