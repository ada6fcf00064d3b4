"""mean_l2: the Euclidean norm of a filter's map (Li et al. 2017, section 4.4)."""

import torch
from torch import Tensor

from lesion.lesions.image_means import ImageMeans


class MeanL2(ImageMeans):
    """The mean over images of ‖z‖₂ over the positions of a filter's map, as the layer gives it.

    It grows with the map: layers do not compare.
    """

    name = "mean_l2"

    def rows(self, values: Tensor) -> Tensor:
        """Each map's norm."""
        norms: Tensor = torch.linalg.vector_norm(values, dim=2)
        return norms


score = MeanL2
