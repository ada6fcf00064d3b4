"""bn_scale: the factor of the batch norm that follows (Network Slimming, Liu et al. 2017)."""

from torch import Tensor

from lesion.errors import LesionError
from lesion.lesions.criteria import Filters


def score(filters: Filters) -> Tensor:
    """|γ_j| of each filter's channel.  Raises LesionError where no batch norm follows."""
    if filters.scale is None:
        raise LesionError(f"no batch norm with a scale follows {filters.layer} directly")
    return filters.scale.double().abs()
