"""hrank: the rank of a filter's map (Lin et al. 2020)."""

import torch
from torch import Tensor

from lesion.errors import LesionError
from lesion.lesions.criteria import Filters
from lesion.lesions.image_means import ImageMeans

EPSILON = torch.finfo(torch.float32).eps  # the maps' own precision, whatever it is computed in


class HRank(ImageMeans):
    """The mean over images of the matrix rank of a filter's map of H × W positions, as a ReLU (or
    another activation with exact zeros) gives it: the number of singular values above
    max(H, W) · ε · σ₁, ε that of 32 bits.

    Without exact zeros every map has full rank, and on maps of 2 × 2 or 4 × 4 filters tie.  The
    authors take 640 images and find that the mean hardly depends on how many; here 128, for each
    map costs a singular value decomposition.

    >>> criterion = HRank()
    >>> maps = torch.tensor([[[1.0, 2.0], [2.0, 4.0]], [[1, 0], [0, 1]], [[0, 0], [0, 0]]])
    >>> criterion.update("conv", maps[None], None)  # an image, three filters
    >>> criterion.scores(Filters("conv", torch.zeros(3, 1), None, 0)).tolist()
    [1.0, 2.0, 0.0]
    """

    name = "hrank"
    tap = "rectified"
    maps = True
    images = 128

    def rows(self, values: Tensor) -> Tensor:
        """The rank of each map."""
        ranks: Tensor = torch.linalg.matrix_rank(values, rtol=max(values.shape[2:]) * EPSILON)
        return ranks.double()

    def update(self, layer: str, activation: Tensor, gradient: Tensor | None) -> None:
        """Adds up the ranks, of maps alone."""
        if activation.dim() == 4:
            super().update(layer, activation, gradient)

    def scores(self, filters: Filters) -> Tensor:
        """The mean ranks. Raises LesionError where what the layer gives are no maps."""
        if filters.layer not in self._sums:
            raise LesionError("what it gives are no maps of height and width")
        return super().scores(filters)


score = HRank
