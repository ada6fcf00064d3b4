"""fpgm: how far a filter lies from the others; the most replaceable go first (He et al. 2019)."""

import torch
from torch import Tensor

from lesion.lesions.criteria import Filters


def score(filters: Filters) -> Tensor:
    """Σ_k ‖W_j − W_k‖₂ over the layer's filters k, Euclidean and not squared.

    >>> weight = torch.tensor([[0.0], [1.0], [3.0]])
    >>> score(Filters("conv", weight, None, 0)).tolist()
    [4.0, 3.0, 5.0]
    """
    flat = filters.weight.double().flatten(1)
    return torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist").sum(1)
