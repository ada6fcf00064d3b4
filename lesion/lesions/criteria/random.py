"""random: a control; every filter as likely as the next, by seed and layer."""

import zlib

import torch
from torch import Tensor

from lesion.lesions.criteria import Filters


def score(filters: Filters) -> Tensor:
    """Uniform numbers in [0, 1) that depend on the seed and the layer's name alone."""
    own = zlib.crc32(f"{filters.seed} {filters.layer}".encode())  # torch takes 32 bits of a seed
    generator = torch.Generator().manual_seed(own)
    return torch.rand(len(filters.weight), generator=generator, dtype=torch.float64)
