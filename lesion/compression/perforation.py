"""Perforated convolutions: some outputs are computed, the others copied from the nearest of them
(Figurnov et al. 2016, "PerforatedCNNs").

A mask is fixed, one for all channels and images; `share` is that of positions to be left out.
"""

from collections.abc import Sequence
from math import floor, prod
from typing import Literal

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

Mask = Literal["grid", "random"]


def computed(size: Sequence[int], share: float, mask: Mask = "grid", seed: int = 0) -> np.ndarray:
    """Which positions of a feature map are computed, as booleans; one at least, and no more than
    are to stay.

    mask: "grid", evenly spaced rows and columns, as many of each axis as its share (there with
        spaces drawn at random); "random", any, by the seed (there "uniform")

    >>> computed((4, 4), 0.75).astype(int)
    array([[0, 0, 0, 0],
           [0, 1, 0, 1],
           [0, 0, 0, 0],
           [0, 1, 0, 1]])
    """
    stays = np.zeros(size, bool)
    if mask == "random":
        count = max(1, floor(prod(size) * (1 - share) + 1e-9))
        order = np.random.default_rng(seed).permutation(prod(size))
        stays.reshape(-1)[order[:count]] = True
        return stays
    counts = _of_each_axis(size, 1 - share)
    rows = [
        ((np.arange(count) + 0.5) * side / count).astype(int)
        for side, count in zip(size, counts, strict=True)
    ]
    stays[np.ix_(*rows)] = True
    return stays


def _of_each_axis(size: Sequence[int], share: float) -> list[int]:
    """How many rows of each axis are computed; what rounds down on short axes, longer ones make
    up for."""
    counts = [1] * len(size)
    for left, axis in zip(range(len(size), 0, -1), np.argsort(size, kind="stable"), strict=True):
        counts[axis] = max(1, floor(size[axis] * share ** (1 / left) + 1e-9))
        share = min(1.0, share * size[axis] / counts[axis])
    return counts


def nearest(stays: np.ndarray) -> Tensor:
    """For each position the number of the nearest computed one, its own if it is computed.

    >>> nearest(np.array([[True, False, False, True]])).tolist()
    [0, 0, 3, 3]
    """
    places = ndimage.distance_transform_edt(~stays, return_distances=False, return_indices=True)
    return torch.from_numpy(np.ravel_multi_index(tuple(places), stays.shape).reshape(-1))


def perforated(values: Tensor, source: Tensor) -> Tensor:
    """Values (images, channels, …) with each position's copied from its source."""
    flat = values.flatten(2)
    return flat.index_select(2, source.to(values.device)).reshape(values.shape)
