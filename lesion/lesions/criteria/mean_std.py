"""mean_std: how far a filter's map varies over positions (Li et al. 2017, section 4.4)."""

from torch import Tensor

from lesion.errors import LesionError
from lesion.lesions.criteria import Filters
from lesion.lesions.image_means import ImageMeans


class MeanStd(ImageMeans):
    """The mean over images of the standard deviation of a filter's map, as the layer gives it;
    that of a population, over M positions and not M − 1."""

    name = "mean_std"

    def rows(self, values: Tensor) -> Tensor:
        """Each map's standard deviation."""
        return values.std(2, correction=0)

    def scores(self, filters: Filters) -> Tensor:
        """The mean over images. Raises LesionError where no map varies."""
        deviations = super().scores(filters)
        if not deviations.any():
            raise LesionError("its maps do not vary over positions")
        return deviations


score = MeanStd
