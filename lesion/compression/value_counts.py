"""How often which values occur in a tensor that is seen part by part: a histogram in whole numbers.

Bins are as wide as a power of two and begin at 0; where a larger value comes, several become one.
So the counts depend on the values alone, not on their order, nor on batches.
"""

from math import frexp, isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor

BINS = 2**14  # to each side of 0
LEAST = -100  # the power of two that they reach to at least
PART = 2**18  # values that are counted at once


class ValueCounts:
    """What values there are.  It takes 256 kB, however many are added.

    low, high: the least and the largest, infinite or NaN where one is; count: how many there are;
    zeros: how many are exactly 0

    >>> counts = ValueCounts()
    >>> counts.add(torch.tensor([0.0, 1.0, 2.0]))
    >>> counts.add(torch.tensor([3.0, 100.0]))
    >>> counts.low, counts.high, counts.count, counts.zeros
    (0.0, 100.0, 5, 1)
    >>> counts.width  # of bins to 128
    0.0078125
    """

    def __init__(self) -> None:
        self.low, self.high = float("inf"), -float("inf")
        self.count = self.zeros = 0
        self._reach = LEAST
        self._counts = torch.zeros(2 * BINS, dtype=torch.int64)

    @property
    def width(self) -> float:
        """Of a bin: between a 16,384th and an 8,192th of the largest absolute value."""
        return float(2.0**self._reach / BINS)

    @property
    def bins(self) -> np.ndarray:
        """How many values lie in each bin, from −16,384 widths to 16,384."""
        counts: np.ndarray = self._counts.cpu().numpy()
        return counts

    @property
    def middles(self) -> np.ndarray:
        """The middle of each bin."""
        return np.asarray((np.arange(-BINS, BINS) + 0.5) * self.width)

    @torch.no_grad()
    def add(self, values: Tensor) -> None:
        """Counts more values; once one is not finite, only that is known."""
        flat = values.reshape(-1)
        flat = flat if flat.dtype == torch.float64 else flat.float()
        low, high = (float(end) for end in torch.aminmax(flat))
        self.low, self.high = min(self.low, low), max(self.high, high)
        if not (isfinite(low) and isfinite(high)):
            self.low = self.high = float("nan")
        if not isfinite(self.high):
            return
        self.count += flat.numel()
        self._widen(frexp(max(-low, high))[1])
        self._counts = self._counts.to(flat.device)
        for part in torch.split(flat, PART):
            away = (part.abs() * (1 / self.width)).int()  # from 0, to either side alike
            places = torch.where(part < 0, BINS - 1 - away, BINS + away)
            self._counts += torch.bincount(places, minlength=2 * BINS)
            self.zeros += int((part == 0).sum())

    def quantile(self, share: float) -> float:
        """Above so large a share of the values: the end of a bin, at most the largest value."""
        below = np.cumsum(self.bins)
        place = int(np.searchsorted(below, self._number(share)))
        return float(min((place + 1 - BINS) * self.width, self.high))

    def magnitude(self, shares: np.ndarray) -> np.ndarray:
        """For each share the end of a bin below which so large a share of the absolute values lies
        at least; 0 where as many are zero."""
        bins = self.bins
        below = np.cumsum(bins[BINS:] + bins[:BINS][::-1])
        numbers = self._number(shares)
        ends = (np.searchsorted(below, numbers) + 1) * self.width
        return np.where(numbers <= self.zeros, 0.0, ends)

    def mirrored(self) -> "ValueCounts":
        """The same of the values with the other sign."""
        other = ValueCounts()
        other.low, other.high = -self.high, -self.low
        other.count, other.zeros = self.count, self.zeros
        other._reach, other._counts = self._reach, self._counts.flip(0)
        return other

    def _number(self, share: Any) -> Any:
        """How many values a share is, rounded up, but not for what rounding adds to it."""
        return np.ceil(share * self.count * (1 - 1e-12))

    def _widen(self, reach: int) -> None:
        """The bins reach to this power of two, or farther."""
        if reach <= self._reach:
            return
        halvings = min(reach - self._reach, 20)  # after which all lie beside 0
        places = torch.arange(-BINS, BINS, device=self._counts.device) >> halvings
        merged = torch.zeros_like(self._counts)
        self._counts = merged.index_add_(0, places + BINS, self._counts)
        self._reach = reach
