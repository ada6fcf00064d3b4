"""Uniform quantisers of weights: equal steps, for the whole weight or for each filter.

What is rounded is `torch.fake_quantize_per_channel_affine`, half to even; here are the steps.
Ranges include 0, so that zeros (padding, pruned weights) stay 0.
"""

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lesion.compression.grains import sparse

Per = Literal["channel", "tensor"]
Grid = Literal["symmetric", "asymmetric", "full", "signed"]
Clip = Literal["max", "percentile", "mse"]
SHARES = tuple(share / 100 for share in range(100, 9, -1))  # of the largest, tried by "mse"


def uniform(
    weight: Tensor,
    bits: int,
    grid: Grid = "symmetric",
    per: Per = "channel",
    clip: Clip = "max",
    percentile: float = 99.9,
) -> Tensor:
    """The weight (filters, …) on a grid of 2^bits steps at most.

    grid: "symmetric", s = max |w| / m with m = 2^(b − 1) − 1, from −m·s to m·s (Krishnamoorthi
        2018, section 2.2); "asymmetric", s = (hi − lo) / (2^b − 1) and the zero at round(−lo / s),
        with lo ≤ 0 ≤ hi (section 2.1); "full", symmetric with all 2^b steps, s = max |w| /
        ((2^b − 1) / 2), as torch's observers; "signed", from −2^(b − 1)·s to (2^(b − 1) − 1)·s
        with the smallest s that holds both lo and hi, as AIMET's symmetric quantisers
    per: "tensor", one step for all; "channel", one for each filter
    clip: which largest |w|, or lo and hi, the steps are for: "max"; "percentile" of them; "mse",
        the share of the largest, from 1 down to 0.1 in hundredths, with the least squared error

    At least 2 bits: one bit has no steps (see `lesion.compression.levels.binary`).

    >>> w = torch.tensor([[-1.0, -0.4, 0.2, 0.7]])
    >>> uniform(w, 3)
    tensor([[-1.0000, -0.3333,  0.3333,  0.6667]])
    >>> uniform(w, 2)
    tensor([[-1.,  0.,  0.,  1.]])
    >>> uniform(w, 2, "asymmetric")
    tensor([[-1.1333, -0.5667,  0.0000,  0.5667]])
    """
    rows = weight.reshape(len(weight) if per == "channel" else 1, -1)
    if clip != "mse":
        return _rounded(rows, bits, grid, *_range(rows, grid, clip, percentile)).reshape_as(weight)
    low, high = _range(rows, grid, "max", percentile)
    best, least = rows, torch.full((len(rows),), torch.inf, dtype=torch.float64).to(rows.device)
    for share in SHARES:
        tried = _rounded(rows, bits, grid, share * low, share * high)
        error = (tried.double() - rows.double()).square().sum(1)
        best = torch.where((error < least)[:, None], tried, best)
        least = torch.minimum(error, least)
    return best.reshape_as(weight)


def sparse_uniform(weight: Tensor, kept: int, **steps: Any) -> Tensor:
    """The same of a weight of which the smallest are zero, so that so many are left.

    steps: see `uniform`; zeros stay, since each grid has one

    >>> sparse_uniform(torch.tensor([[-1.0, -0.4, 0.2, 0.7]]), 2, bits=3)
    tensor([[-1.0000,  0.0000,  0.0000,  0.6667]])
    """
    return uniform(sparse(weight, "weight", kept), **steps)


def _range(rows: Tensor, grid: Grid, clip: Clip, percentile: float) -> tuple[Tensor, Tensor]:
    """The ends of each row's grid; of "symmetric" and "full" ±."""
    if grid in ("asymmetric", "signed"):
        ends = [100 - percentile, percentile] if clip == "percentile" else [0.0, 100.0]
        low, high = _percentiles(rows, ends)
        return low.clamp(max=0), high.clamp(min=0)
    (high,) = _percentiles(rows.abs(), [percentile if clip == "percentile" else 100])
    return -high, high


def _percentiles(rows: Tensor, which: list[float]) -> list[Tensor]:
    """Percentiles of each row, between two values in proportion."""
    numbers = np.percentile(rows.detach().cpu().numpy(), which, axis=1)
    return [torch.from_numpy(np.atleast_1d(row)).to(rows) for row in numbers]


def _rounded(rows: Tensor, bits: int, grid: Grid, low: Tensor, high: Tensor) -> Tensor:
    """The rows on the grid between these ends."""
    steps = 2**bits - 1
    if grid == "asymmetric":
        scale = _positive((high - low) / steps)
        zero, least, most = torch.round(-low / scale).int(), 0, steps
    else:
        half = 2 ** (bits - 1)
        scale = high / (steps / 2 if grid == "full" else half - 1)
        scale = _positive(torch.maximum(scale, -low / half) if grid == "signed" else scale)
        zero = torch.zeros(len(rows), dtype=torch.int32, device=rows.device)
        least, most = (1 - half if grid == "symmetric" else -half), half - 1
    return torch.fake_quantize_per_channel_affine(
        rows.float(), scale.float(), zero, 0, least, most
    ).to(rows)


def _positive(scale: Tensor) -> Tensor:
    """The step, of what is zero everywhere any."""
    return torch.where(scale > 0, scale, torch.ones_like(scale))
