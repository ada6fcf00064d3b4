"""chip: how far a filter's map is independent of the others' (Sui et al. 2021)."""

import torch
from torch import Tensor

from lesion.lesions.image_means import ImageMeans

ROOM = 2**23  # numbers in the matrices that are decomposed at once


class Chip(ImageMeans):
    """‖A‖_* − ‖A with row j zeroed‖_*, averaged over images; A (filters, positions) is what the
    activation behind the layer gives for an image, ‖·‖_* the sum of the singular values.

    The authors take 640 images and round A to four decimals; here 32 and as it is, for each image
    costs a decomposition a filter.

    >>> from lesion.lesions.criteria import Filters
    >>> criterion = Chip()
    >>> rows = torch.tensor([[[2.0, 0.0], [2.0, 0.0], [0.0, 1.0]]])
    >>> criterion.update("conv", rows, None)  # an image, three filters, of which two are alike
    >>> criterion.scores(Filters("conv", torch.zeros(3, 1), None, 0))
    tensor([0.8284, 0.8284, 1.0000], dtype=torch.float64)
    """

    name = "chip"
    tap = "activated"
    images = 32
    batch = 32

    def rows(self, values: Tensor) -> Tensor:
        """What each image's matrix loses with each of its rows."""
        return torch.stack([_losses(matrix) for matrix in values])


def _losses(matrix: Tensor) -> Tensor:
    """By how much a matrix's nuclear norm falls without each of its rows.

    With A = U S Vᵀ, U S has the singular values of A, and fewer columns.
    """
    left, sizes, _ = torch.linalg.svd(matrix, full_matrices=False)
    others = 1 - torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    norms = [
        torch.linalg.svdvals(some[:, :, None] * (left * sizes)).sum(1)
        for some in torch.split(others, max(1, ROOM // left.numel()))
    ]
    losses: Tensor = sizes.sum() - torch.cat(norms)
    return losses


score = Chip
