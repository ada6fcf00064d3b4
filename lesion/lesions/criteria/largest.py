"""largest: a control; the filters of the largest l1 norm go first (Li et al. 2017, section 4.4)."""

from torch import Tensor

from lesion.lesions.criteria import Filters, l1


def score(filters: Filters) -> Tensor:
    """−Σ |W_j| of each filter j."""
    return -l1.score(filters)
