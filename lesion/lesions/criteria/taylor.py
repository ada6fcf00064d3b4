"""taylor: by how much the loss changes without a filter, to first order (Molchanov 2017)."""

import torch
from torch import Tensor

from lesion.lesions.criteria import Filters
from lesion.lesions.image_means import ImageMeans


class Taylor(ImageMeans):
    """Σ_n |(1/M) Σ_m a_nm · g_nm| / N over N images and M positions, divided by the Euclidean norm
    of these numbers over the layer (section 2.2, equations 7 and 8); a is what the activation
    gives, g the gradient of an image's cross-entropy.

    Other code has other rankings under this name: NVIDIA's takes |a · g| position by position,
    pytorch-pruning the mean over the batch before |·|, Torch-Pruning weights times their gradients.

    >>> criterion = Taylor()
    >>> product = torch.tensor([[[1.0, -1.0], [1.0, 0.0]], [[2.0, -1.0], [-1.0, 0.0]]])
    >>> criterion.update("conv", product, torch.ones(2, 2, 2))  # two images, two filters
    >>> criterion.scores(Filters("conv", torch.zeros(2, 1), None, 0)).tolist()
    [0.4472135954999579, 0.8944271909999159]
    """

    name = "taylor"
    needs = "gradients"
    tap = "activated"

    def rows(self, values: Tensor) -> Tensor:
        """The size of each image's change: by one position, on average."""
        return values.mean(2).abs()

    def scores(self, filters: Filters) -> Tensor:
        """The layer's changes, of Euclidean norm 1."""
        changes = super().scores(filters)
        norm: Tensor = torch.linalg.vector_norm(changes)
        return changes / norm


score = Taylor
