"""Weights that share values: codebooks, product quantisation, hashing."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

Fit = Literal["optimal", "lloyd"]
ROUNDS = 100  # of Lloyd's iteration, at most


def codebook(weight: Tensor, values: int, fit: Fit = "optimal") -> Tensor:
    """The weight with each number replaced by the centroid of its cluster, of so many clusters.

    fit: "optimal", the least squared error there is (Wu 1991: one-dimensional k-means is exact by
        dynamic programming); "lloyd", Lloyd's iteration from centroids at equal distances from the
        smallest to the largest weight (Han et al. 2016, section 3, "linear")

    >>> codebook(torch.tensor([0.0, 0.1, 0.9, 1.0]), 2)
    tensor([0.0500, 0.0500, 0.9500, 0.9500])
    """
    flat = weight.detach().double().cpu().numpy().reshape(-1)
    ordered, inverse, counts = np.unique(flat, return_inverse=True, return_counts=True)
    if values >= len(ordered):
        return weight.clone()
    cluster = _optimal if fit == "optimal" else _lloyd
    shared = cluster(ordered, counts.astype(float), values)[inverse.reshape(-1)]
    return torch.from_numpy(shared).reshape(weight.shape).to(weight)


def _lloyd(points: np.ndarray, counts: np.ndarray, values: int) -> np.ndarray:
    """Each point's centroid; a cluster that has no points keeps its centroid."""
    centroids = np.linspace(points[0], points[-1], values)
    for _ in range(ROUNDS):
        nearest = np.searchsorted((centroids[1:] + centroids[:-1]) / 2, points)
        total = np.bincount(nearest, counts, values)
        sums = np.bincount(nearest, counts * points, values)
        moved = np.where(total > 0, sums / np.maximum(total, 1), centroids)
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    return np.asarray(centroids[np.searchsorted((centroids[1:] + centroids[:-1]) / 2, points)])


def _optimal(points: np.ndarray, counts: np.ndarray, values: int) -> np.ndarray:
    """Each point's centroid in the best clustering of sorted points.

    Clusters are intervals, and the best last interval of the first i points begins no further left
    as i grows: so each number of clusters takes n log n steps, by halving (divide and conquer).
    """
    costs = _Costs.of(points, counts)
    n = len(points)
    least = costs(np.zeros(n, int), np.arange(n))  # of the first i + 1 points in one cluster
    begins = np.zeros((values, n), np.int32)
    for clusters in range(1, values):
        least, begins[clusters] = _one_more(least, costs)
    shared, end = np.empty(n), n
    for clusters in range(values - 1, -1, -1):
        start = int(begins[clusters, end - 1]) if end else 0
        if end > start:
            shared[start:end] = np.average(points[start:end], weights=counts[start:end])
        end = start
    return shared


def _one_more(least: np.ndarray, costs: "_Costs") -> tuple[np.ndarray, np.ndarray]:
    """The least cost of the first i + 1 points with one cluster more, and where the last begins.

    All points of one depth of the halving are found at once: each looks between where those on its
    two sides, found before, begin.
    """
    n = len(least)
    best, begins = np.zeros(n), np.zeros(n, np.int32)
    before = np.concatenate([[0.0], least[:-1]])  # of what lies before a last cluster
    known = np.full(n + 2, -1)
    known[0], known[-1] = 0, n - 1
    bounds = np.array([[-1, n]])  # pairs of neighbours, found, between which others lie
    while len(bounds):
        left, right = bounds.T
        middle = (left + right) // 2
        low, high = known[left + 1], np.minimum(known[right + 1], middle)
        width = high - low + 1
        place = np.repeat(np.cumsum(width) - width, width)
        tried = np.arange(width.sum()) - place + np.repeat(low, width)
        total = before[tried] + costs(tried, np.repeat(middle, width))
        first = np.cumsum(width) - width
        best[middle] = np.minimum.reduceat(total, first)
        hits = np.flatnonzero(total == np.repeat(best[middle], width))
        owner = np.searchsorted(first, hits, side="right") - 1
        chosen, at = np.unique(owner, return_index=True)
        begins[middle[chosen]] = tried[hits[at]]
        known[middle + 1] = begins[middle]
        halves = np.concatenate([np.stack([left, middle], 1), np.stack([middle, right], 1)])
        bounds = halves[halves[:, 1] - halves[:, 0] > 1]
    return best, begins


class _Costs:
    """The squared error of sorted points i to j in one cluster, by sums of their powers."""

    def __init__(self, sums: np.ndarray) -> None:
        self.sums = sums

    @classmethod
    def of(cls, points: np.ndarray, counts: np.ndarray) -> "_Costs":
        moved = points - np.average(points, weights=counts)  # so that sums stay small
        powers = np.stack([counts, counts * moved, counts * moved**2])
        return cls(np.concatenate([np.zeros((3, 1)), np.cumsum(powers, 1)], 1))

    def __call__(self, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        number, total, squares = self.sums[:, last + 1] - self.sums[:, first]
        return np.asarray(np.maximum(squares - total**2 / number, 0.0))


def product(weight: Tensor, length: int, values: int, seed: int = 0) -> Tensor:
    """The weight (N, C, …) in sub-vectors of so many inputs, each replaced by a centroid.

    Each run of `length` inputs has a codebook of its own, for all filters and positions (Gong et
    al. 2014; Wu et al. 2016); k-means++ (Arthur & Vassilvitskii 2007) begins it, so that the seed
    matters.  C has to be a multiple of the length.

    >>> w = torch.tensor([[1.0, 2.0], [1.0, 2.0], [5.0, 6.0], [5.0, 8.0]])
    >>> product(w, 2, 2)
    tensor([[1., 2.],
            [1., 2.],
            [5., 7.],
            [5., 7.]])
    """
    generator = torch.Generator().manual_seed(seed)
    moved = weight.double().cpu().movedim(1, -1)
    parts = moved.reshape(-1, weight.shape[1] // length, length)  # (vectors, sub-spaces, length)
    shared = [_vectors(parts[:, at], values, generator) for at in range(parts.shape[1])]
    whole = torch.stack(shared, 1).reshape(moved.shape)
    return whole.movedim(-1, 1).to(weight).contiguous()


def _vectors(points: Tensor, values: int, generator: torch.Generator) -> Tensor:
    """Each vector's centroid."""
    if values >= len(points):
        return points
    centroids = points[torch.randint(len(points), (1,), generator=generator)]
    for _ in range(values - 1):
        near = torch.cdist(points, centroids).amin(1).square()
        if not near.any():
            break
        drawn = torch.multinomial(near, 1, generator=generator)
        centroids = torch.cat([centroids, points[drawn]])
    for _ in range(ROUNDS):
        nearest = torch.cdist(points, centroids).argmin(1)
        total = torch.bincount(nearest, minlength=len(centroids))[:, None]
        sums = torch.zeros_like(centroids).index_add_(0, nearest, points)
        moved = torch.where(total > 0, sums / total.clamp_min(1), centroids)
        if torch.equal(moved, centroids):
            break
        centroids = moved
    return centroids[torch.cdist(points, centroids).argmin(1)]


def hashed(weight: Tensor, buckets: Tensor, signs: Tensor) -> Tensor:
    """The weight with each number ξ·v of its bucket, v being the mean of ξ·w in it.

    HashedNets (Chen et al. 2015, equation 7) with values that fit a trained network best.

    buckets: of each weight, of its shape; signs: ξ, 1 or −1

    >>> w = torch.tensor([0.2, -0.4])
    >>> hashed(w, torch.tensor([0, 0]), torch.tensor([1.0, -1.0]))
    tensor([ 0.3000, -0.3000])
    """
    flat, where, turned = weight.double().reshape(-1), buckets.reshape(-1), signs.reshape(-1)
    total = flat.new_zeros(int(where.max()) + 1).index_add_(0, where, turned * flat)
    mean = total / torch.bincount(where, minlength=len(total)).clamp_min(1)
    return (turned * mean[where]).reshape_as(weight).to(weight)


def hashed_by_chance(weight: Tensor, values: int, seed: int) -> Tensor:
    """The weight hashed into so many buckets by a seed."""
    buckets, signs = hashes(weight.shape, values, seed)
    return hashed(weight, buckets.to(weight.device), signs.to(weight.device))


def hashes(shape: torch.Size, values: int, seed: int) -> tuple[Tensor, Tensor]:
    """Buckets and signs by chance, one of so many and 1 or −1 for each weight."""
    generator = torch.Generator().manual_seed(seed)
    buckets = torch.randint(values, shape, generator=generator)
    signs = torch.randint(2, shape, generator=generator).double() * 2 - 1
    return buckets, signs
