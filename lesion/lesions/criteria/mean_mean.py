"""mean_mean: a filter's mean output, with its sign (Li et al. 2017, section 4.4)."""

from torch import Tensor

from lesion.lesions.image_means import ImageMeans


class MeanMean(ImageMeans):
    """The mean over images of the mean of a filter's map, as the layer gives it.

    Signed: a strong filter whose values cancel scores 0, one of negative values less.
    """

    name = "mean_mean"

    def rows(self, values: Tensor) -> Tensor:
        """Each map's mean."""
        return values.mean(2)


score = MeanMean
