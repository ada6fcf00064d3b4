"""taylor_fg: as taylor_fo, squared image by image (Molchanov et al. 2019, "full gradient")."""

from torch import Tensor

from lesion.lesions.criteria import Filters
from lesion.lesions.image_means import ImageMeans


class TaylorFG(ImageMeans):
    """Σ_images ((1/N) Σ_positions n · g)² over all N images: the squares of what each image adds to
    ∂L/∂gate, for a gate of 1 that multiplies what the batch norm gives, n, and the mean
    cross-entropy L of the images.  Unlike taylor_fo it does not depend on batches.

    A layer that runs at several places has each image at each of them, not one gate.
    """

    name = "taylor_fg"
    needs = "gradients"
    tap = "normalised"

    def rows(self, values: Tensor) -> Tensor:
        """The square of each image's gradient."""
        return values.sum(2) ** 2

    def scores(self, filters: Filters) -> Tensor:
        """The sum over images, each divided by N²."""
        return super().scores(filters) / self._counts[filters.layer]


score = TaylorFG
