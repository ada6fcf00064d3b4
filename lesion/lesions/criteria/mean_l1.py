"""mean_l1: the l1 norm of a filter's map (Li et al. 2017, section 4.4)."""

from torch import Tensor

from lesion.lesions.image_means import ImageMeans


class MeanL1(ImageMeans):
    """The mean over images of Σ |z| over the positions of a filter's map, as the layer gives it.

    It grows with the map: layers do not compare.
    """

    name = "mean_l1"

    def rows(self, values: Tensor) -> Tensor:
        """Each map's norm."""
        return values.abs().sum(2)


score = MeanL1
