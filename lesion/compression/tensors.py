"""What a layer reads, in few bits or with its smallest values gone; ranges are frozen before.

What is rounded is `torch.fake_quantize_per_tensor_affine`, half to even.  Ranges include 0, so that
zeros (of padding, of a ReLU) stay 0.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lesion.compression.uniform import SHARES, Clip
from lesion.compression.value_counts import ValueCounts

CLIPPED = 8  # bits: with more of them, clipping gains less than the counts can tell


@dataclass(frozen=True)
class Rounding:
    """Rounds values to so many bits in a range, see `rounded`."""

    bits: int
    low: float
    high: float

    def __call__(self, values: Tensor) -> Tensor:
        return rounded(values, self.bits, self.low, self.high)


def rounded(values: Tensor, bits: int, low: float, high: float) -> Tensor:
    """The values on 2^bits equal steps from `low` to `high`, those beyond at the ends.

    s = (high − low) / (2^b − 1), and the zero at round(−low / s), with low ≤ 0 ≤ high
    (Krishnamoorthi 2018, section 2.1: asymmetric, per tensor).

    >>> x = torch.tensor([0.0, 1.0, 2.0, 3.0, 100.0])
    >>> rounded(x, 2, 0, 100), rounded(x, 2, 0, 3)
    (tensor([  0.,   0.,   0.,   0., 100.]), tensor([0., 1., 2., 3., 3.]))
    """
    steps = 2**bits - 1
    scale = (high - low) / steps
    zero = round(-low / scale)
    wide = torch.fake_quantize_per_tensor_affine(values.float(), scale, zero, 0, steps)
    return wide.to(values.dtype)


def without_small(values: Tensor, threshold: float) -> Tensor:
    """The values with zeros where |x| is below the threshold (as Kurtz et al. 2020 force it, there
    in place of a ReLU).

    >>> without_small(torch.tensor([0.5, -0.2, -2.0, 1.0]), 1.0)
    tensor([ 0.,  0., -2.,  1.])
    """
    return values.masked_fill(values.abs() < threshold, 0)


def span(counts: ValueCounts, bits: int, clip: Clip, percentile: float) -> tuple[float, float]:
    """The range for so many bits of values that were counted, from at most 0 to at least 0.

    clip: "max", all of them; "percentile", from 100 − percentile to the percentile, to the width of
        a bin; "mse", the share of the range, from 1 down to 0.1 in hundredths, with the least
        squared error, of the middles of bins (to 8 bits; all of the range for more)

    >>> counts = ValueCounts()
    >>> counts.add(torch.tensor([0.0, 1.0, 2.0, 3.0, 100.0]))
    >>> span(counts, 2, "max", 99.9), span(counts, 2, "percentile", 80)
    ((0.0, 100.0), (0.0, 3.0078125))
    """
    low, high = min(counts.low, 0.0), max(counts.high, 0.0)
    if clip == "percentile":
        share = percentile / 100
        return min(-counts.mirrored().quantile(share), 0.0), max(counts.quantile(share), 0.0)
    if clip == "max" or bits > CLIPPED:
        return low, high
    filled = counts.bins.nonzero()[0]
    middles, numbers = counts.middles[filled], counts.bins[filled]
    errors = [_error(middles, numbers, bits, share * low, share * high) for share in SHARES]
    best = SHARES[int(np.argmin(errors))]
    return best * low, best * high


def _error(values: np.ndarray, numbers: np.ndarray, bits: int, low: float, high: float) -> float:
    """The squared error of values that occur so often."""
    steps = 2**bits - 1
    scale = (high - low) / steps
    zero = np.round(-low / scale)
    levels = np.clip(np.round(values / scale) + zero, 0, steps) - zero
    return float(numbers @ (levels * scale - values) ** 2)
