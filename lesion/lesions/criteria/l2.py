"""l2: the Euclidean norm of a filter."""

import torch
from torch import Tensor

from lesion.lesions.criteria import Filters


def score(filters: Filters) -> Tensor:
    """‖W_j‖₂ of each filter j."""
    norms: Tensor = torch.linalg.vector_norm(filters.weight.double().flatten(1), dim=1)
    return norms
