"""random: a control; every filter as likely as the next, by seed and layer."""

import torch
from torch import Tensor

from lesion.lesions.criteria import Filters
from lesion.lesions.lesion import seed_of


def score(filters: Filters) -> Tensor:
    """Uniform numbers in [0, 1) that depend on the seed and the layer's name alone."""
    generator = torch.Generator().manual_seed(seed_of(filters.seed, filters.layer))
    return torch.rand(len(filters.weight), generator=generator, dtype=torch.float64)
