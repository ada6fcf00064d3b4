"""l1: the sum of a filter's absolute weights (Li et al. 2017, section 3.1)."""

from torch import Tensor

from lesion.lesions.criteria import Filters


def score(filters: Filters) -> Tensor:
    """Σ |W_j| of each filter j."""
    return filters.weight.double().flatten(1).abs().sum(1)
