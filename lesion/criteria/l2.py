"""l2: the Euclidean norm of a filter."""

from torch import Tensor

from lesion.criteria import Filters


def score(filters: Filters) -> Tensor:
    """‖W_j‖₂ of each filter j."""
    return filters.weight.double().flatten(1).norm(dim=1)
