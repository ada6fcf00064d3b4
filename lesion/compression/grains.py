"""Sparsity: of the groups of a grain those that score lowest are zero.

Weights are (N, C, …): filters, inputs of each, and the kernel; of a grouped convolution C is the
inputs of one group.  Every grain is the same function, and differs in its groups alone.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

Grain = Literal["weight", "vector", "kernel", "position", "column", "input_channel", "filter"]
Score = Literal["abs", "square", "random"]


def members(shape: torch.Size, grain: Grain, groups: int = 1) -> Tensor:
    """The number of the group that each weight belongs to, of the weight's shape.

    - weight: each its own (Han et al. 2015)
    - vector: a row of a kernel, W[i, j, p, :]; kernel: W[i, j] (Mao et al. 2017; Anwar et al. 2017)
    - position: one position of all kernels, W[:, :, p, q] (Anwar et al. 2017, intra-kernel)
    - column: one position of an input channel's kernels in all filters, W[:, j, p, q], a column of
      the matrix that a convolution is (Lebedev & Lempitsky 2016)
    - input_channel: W[:, j]; filter: W[i]

    groups: of the convolution; each has columns and input channels of its own

    >>> members(torch.Size([2, 2, 3]), "kernel")[:, :, 0].tolist()
    [[0, 1], [2, 3]]
    >>> members(torch.Size([2, 2]), "column").tolist()
    [[0, 1], [0, 1]]
    """
    filters, inputs, *kernel = shape
    ones = [1] * len(kernel)
    among = torch.arange(groups).repeat_interleave(filters // groups).reshape(-1, 1, *ones)
    if grain == "weight":
        numbers = torch.arange(shape.numel()).reshape(shape)
    elif grain == "vector":
        rows = shape.numel() // shape[-1] if kernel else shape.numel()
        numbers = torch.arange(rows).reshape(*shape[:-1], 1) if kernel else members(shape, "weight")
    elif grain == "kernel":
        numbers = torch.arange(filters * inputs).reshape(filters, inputs, *ones)
    elif grain == "position":
        numbers = torch.arange(torch.Size(kernel).numel()).reshape(1, 1, *kernel)
    elif grain == "column":
        columns = shape[1:].numel()
        numbers = among * columns + torch.arange(columns).reshape(1, inputs, *kernel)
    elif grain == "input_channel":
        numbers = among * inputs + torch.arange(inputs).reshape(1, inputs, *ones)
    else:
        numbers = torch.arange(filters).reshape(-1, 1, *ones)
    return numbers.expand(shape)


def scores(weight: Tensor, score: Score, seed: int = 0) -> Tensor:
    """What each weight counts, in double precision: |w|, w², or a number drawn at random."""
    if score == "random":
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.rand(weight.shape, generator=generator, dtype=torch.float64)
        return drawn.to(weight.device)
    wide = weight.double()
    return wide.abs() if score == "abs" else wide.square()


def group_scores(
    weight: Tensor, grain: Grain, score: Score = "abs", groups: int = 1, seed: int = 0
) -> Tensor:
    """The sum of what its weights count, of each group.

    >>> filters = torch.tensor([[[[3.0, 0.0], [0.0, 1.0]]], [[[4.0, 0.0], [1.0, 1.0]]]])
    >>> group_scores(filters, "column", "square").sqrt()
    tensor([5.0000, 0.0000, 1.0000, 1.4142], dtype=torch.float64)
    """
    numbers = members(weight.shape, grain, groups).to(weight.device).reshape(-1)
    totals = weight.new_zeros(int(numbers.max()) + 1, dtype=torch.float64)
    return totals.index_add_(0, numbers, scores(weight, score, seed).reshape(-1))


def sparse(
    weight: Tensor,
    grain: Grain,
    kept: int,
    score: Score = "abs",
    groups: int = 1,
    seed: int = 0,
) -> Tensor:
    """The weight with so many groups kept, those that score highest; the first of equals fall.

    score: "abs", "square" or "random", which takes the seed

    >>> sparse(torch.tensor([[0.1, -0.4, 0.2, 0.3]]), "weight", 2)
    tensor([[ 0.0000, -0.4000,  0.0000,  0.3000]])
    """
    totals = group_scores(weight, grain, score, groups, seed)
    stays = torch.zeros(len(totals), dtype=torch.bool, device=weight.device)
    stays[torch.argsort(totals, stable=True)[len(totals) - kept :]] = True
    return _masked(weight, stays[members(weight.shape, grain, groups).to(weight.device)])


def n_of_m(weight: Tensor, n: int, m: int, score: Score = "abs", seed: int = 0) -> Tensor:
    """The weight with n of each m that follow one another along its inputs, at one position.

    As for sparse tensor cores (Pool & Yu 2021: 2 of 4); inputs that are no multiple of m are
    filled up with zeros, which fall first.

    >>> n_of_m(torch.tensor([[1.0, -3.0, 2.0, 0.5]]), 2, 4)
    tensor([[ 0., -3.,  2.,  0.]])
    """
    inputs = weight.shape[1]
    valued = scores(weight, score, seed).movedim(1, -1)
    valued = torch.nn.functional.pad(valued, (0, -inputs % m), value=-1.0)
    blocks = valued.reshape(*valued.shape[:-1], -1, m)
    order = blocks.argsort(dim=-1, stable=True)
    stays = torch.ones_like(blocks, dtype=torch.bool).scatter(-1, order[..., : m - n], False)
    return _masked(weight, stays.flatten(-2)[..., :inputs].movedim(-1, 1))


def block_diagonal(weight: Tensor, groups: int) -> Tensor:
    """The weight with the blocks off the diagonal zero, as of a convolution in so many groups, the
    channels in their order (Ioannou et al. 2017, "Deep Roots").

    Filters and inputs have to be multiples of the groups.

    >>> block_diagonal(torch.ones(2, 4), 2)
    tensor([[1., 1., 0., 0.],
            [0., 0., 1., 1.]])
    """
    filters, inputs = weight.shape[:2]
    rows = torch.arange(filters, device=weight.device) // (filters // groups)
    columns = torch.arange(inputs, device=weight.device) // (inputs // groups)
    ones = [1] * (weight.dim() - 2)
    return _masked(weight, (rows[:, None] == columns).reshape(filters, inputs, *ones))


def _masked(weight: Tensor, stays: Tensor) -> Tensor:
    return torch.where(stays, weight, torch.zeros_like(weight))


def below(weight: np.ndarray, deviations: float) -> np.ndarray:
    """Which weights are below so many standard deviations of all, |w| < q · std(w), in double
    precision (Han et al. 2015).

    >>> below(np.array([1.0, -1.0, 3.0, -3.0]), 0.5).tolist()  # of deviation √5
    [True, True, False, False]
    """
    wide = weight.astype(float)
    small: np.ndarray = np.abs(wide) < deviations * wide.std()
    return small


def without_below(weight: Tensor, deviations: float) -> Tensor:
    """The weight with zeros in place of those, see `below`."""
    zero = torch.from_numpy(below(weight.detach().double().cpu().numpy(), deviations))
    return weight.masked_fill(zero.to(weight.device), 0)
