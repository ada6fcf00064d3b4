"""Mixture betting on images in the study's order: verdicts that may be looked at at any time.

Against "drop ≥ τ" the wealth K = mean over λ of Π (1 + λ (τ_i − D_i)) is a supermartingale that
starts at 1, so it ever reaches 1 / α with probability α at most, whatever the rule for stopping;
against "drop ≤ τ" the signs turn.  Where N images are drawn without replacement, τ_i is what the
unseen images must average for the drop to be τ: (N τ − D_1 − … − D_{i−1}) / (N − i + 1).

Source: Waudby-Smith and Ramdas 2024, Estimating means of bounded random variables by betting,
Journal of the Royal Statistical Society B 86, 1-27, sections 4 and 5.
"""

from math import ceil, log, log1p

import numpy as np

from lesion.sequential.process import Process, before, cumulative
from lesion.sequential.question import Array, Forecast, Question

SHARES = np.array([0.01, 0.03, 0.08, 0.2, 0.4, 0.65, 0.9, 1.0])  # of the largest bet, equal weights
MOST = 1e300  # money: far more than any claim needs, and sums of it are still numbers
LARGEST = 0.9999, 0.999  # of the bet that one image could ruin, against either side


def _products(factors: Array) -> Array:
    """(cells, images, bets) what bets have become; beyond what a float holds, very much."""
    with np.errstate(over="ignore", invalid="ignore"):
        paths = np.cumprod(factors, 1)
    if not np.isfinite(paths[:, -1]).all():  # 0 times infinity is of a bet that was ruined
        paths = np.nan_to_num(paths, nan=0.0, posinf=MOST)
    return np.asarray(np.minimum(paths, MOST)) if (paths[:, -1] > MOST).any() else paths


class Uniform(Process):
    """Looks at images in the study's order; serves scores of every kind and both estimands."""

    shares = np.full(len(SHARES), 1 / len(SHARES))
    tables = 3

    def __init__(self, question: Question, cells: int, least: int = 50, record: bool = True):
        super().__init__(question, cells, least, record)
        self._bets = np.zeros((cells, 2, len(SHARES)))  # log wealth of each bet
        self._up, self._down = np.zeros((2, cells))
        base = question.base
        self._range = (-1.0, 1.0)  # what holds of images that are not in the set
        if question.estimand == "set":
            self._range = float(base.min()) - 1, float(base.max())
        self._left = np.append(np.cumsum(base[::-1])[::-1], 0.0)

    def _plan(self, cells: Array) -> tuple[Array, Array]:
        count = self.size(cells)
        positions = self.seen[cells, None] + np.arange(count.max())
        return np.minimum(positions, self.question.images - 1), count

    def _learn(self, cells: Array, drops: Array, real: Array) -> tuple[Array, tuple[Array, ...]]:
        peaks = np.zeros((len(cells), 2))
        for side in (0, 1):
            factors = self._factors(cells, drops, side)
            factors[~real] = 1.0
            log_bets = self._bets[cells, side]
            top = log_bets.max(1, keepdims=True)
            paths = _products(factors)
            mean = _mixture(np.exp(log_bets - top), paths)
            with np.errstate(divide="ignore"):
                wealth = np.log(mean) + top
                self._bets[cells, side] = log_bets + np.log(paths[:, -1])
            peaks[:, side] = wealth.max(1)
            self.wealth[cells, side] = wealth[:, -1]
        trail = drops, *self._before(cells, drops)
        self._up[cells] += cumulative(np.maximum(drops, 0))[:, -1]
        self._down[cells] -= cumulative(np.minimum(drops, 0))[:, -1]
        return peaks, trail

    def _factors(self, cells: Array, drops: Array, side: int) -> Array:
        """(cells, images, bets) by what each image multiplies each bet's wealth."""
        fixed = np.full((len(cells), 1), self.question.bars[side] / self.question.images)
        bar = self._bars(fixed, *self._before(cells, drops))
        gain, largest = self._bets_on(bar, fixed, drops, side)
        return np.asarray(np.maximum(1 + SHARES * (largest * gain)[:, :, None], 0.0))

    def _before(self, cells: Array, drops: Array) -> tuple[Array, Array]:
        """ΣD and the number of images not yet seen, before each image."""
        unseen = self.question.images - self.seen[cells, None] - np.arange(drops.shape[1])
        return self.total[cells, None] + before(drops), np.maximum(unseen, 1)

    def _bars(self, drop: Array, done: Array, unseen: Array) -> Array:
        """τ_i before each image, if the drop is `drop`."""
        if self.question.estimand == "population":
            return np.broadcast_to(drop, done.shape)
        return np.asarray((drop * self.question.images - done) / unseen)

    def _bets_on(self, bar: Array, fixed: Array, drops: Array, side: int) -> tuple[Array, Array]:
        """What a unit bet gains on each image, and the largest bet."""
        sign, edge = (1, self._range[1]) if side == 0 else (-1, self._range[0])
        room = np.maximum(sign * (edge - bar), sign * (edge - fixed))
        return sign * (bar - drops), LARGEST[side] / np.maximum(room, 1e-12)

    def against(self, trail: Array, theta: Array, side: int) -> Array:
        """(cells, bets, images) the verdict's own bets, against another drop."""
        drops, done, unseen = trail
        bar = self._bars(theta[:, None], done, unseen)
        gain, largest = self._bets_on(bar, theta[:, None], drops, side)
        factors = 1 + SHARES[:, None] * (largest * gain)[:, None]
        return np.asarray(np.maximum(factors, 0.0))

    def rest(self, cells: Array) -> tuple[Array, Array]:
        up = self._left[self.seen[cells]]
        return up, self.question.images - self.seen[cells] - up

    def floor(self, alpha: float) -> int | None:
        """The images after which SAFE comes if none is broken; none comes from fewer.

        The latter also where repaired images would speak for it sooner.
        """
        question, images = self.question, self.question.images
        bar = question.bars[0] / images
        unseen = np.arange(images, 0, -1) if question.estimand == "set" else images
        gain = LARGEST[0] * question.bars[0] / unseen / max(self._range[1] - bar, 1e-12)
        paths = np.cumsum(np.log1p(np.outer(np.broadcast_to(gain, images), SHARES)), 0)
        enough = np.logaddexp.reduce(paths, axis=1) - log(len(SHARES)) >= -log(alpha)
        if question.estimand == "set":
            enough |= self._left[1:] <= question.limit
        return int(enough.argmax()) + 1 if enough.any() else None

    def forecast(self, cells: Array, alpha: float | Array) -> Forecast:
        """Where each cell is heading, from its mean and spread so far; steers only."""
        question, n, needed = self.question, self.seen[cells], -np.log(self.levels(alpha)[cells])
        up, down = self._up[cells] + 0.25, self._down[cells] + 0.25
        drop = self.total[cells] / np.maximum(n, 1)
        spread = np.sqrt((up + down) / (n + 1) / (n + 1))
        unseen = question.images - n
        if question.estimand == "set":
            spread = spread * np.sqrt(unseen / question.images)
        safe = normal((question.tolerance - drop) / np.maximum(spread, 1e-9))
        side = np.where(safe >= 0.5, 0, 1)
        rate = self._growth(up / (n + 1), down / (n + 1), side)
        missing = needed - self.wealth[cells, side]
        images = np.clip(missing / np.maximum(rate, 1e-9), 0, unseen)
        return Forecast(safe, drop, np.where(self.log_e[cells].max(1) >= needed, 0, images))

    def _growth(self, up: Array, down: Array, side: Array) -> Array:
        """Log wealth an image that the best bet gains if images go on as they did."""
        tolerance, (low, high) = self.question.tolerance, self._range
        rates = []
        for sign, edge in ((1, high), (-1, low)):
            bet = LARGEST[1] * SHARES / np.maximum(sign * (edge - tolerance), 1e-9)
            gains = [np.log1p(bet * sign * (tolerance - drop)) for drop in (high, low, 0.0)]
            rest = np.maximum(1 - up - down, 0)
            rates.append(
                sum(np.multiply.outer(w, g) for w, g in zip((up, down, rest), gains, strict=True))
            )
        best = np.stack([np.max(rate, 1) for rate in rates], 1)
        return np.asarray(np.take_along_axis(best, side[:, None], 1)[:, 0])


def _mixture(weights: Array, paths: Array) -> Array:
    """(cells, images) equal-weighted mean of the bets' wealth, added bet by bet."""
    total = np.zeros(paths.shape[:2])
    for bet in range(paths.shape[2]):
        total += weights[:, bet, None] * paths[:, :, bet]
    return np.asarray(total / paths.shape[2])


def fewest(tolerance: float, alpha: float) -> int:
    """What no betting on independent images can beat: ln α / ln(1 − τ), rounded up.

    The wealth of the largest bet when no image is broken is (1 − τ)^−n.

    >>> [fewest(0.01, alpha) for alpha in (0.05, 0.05 / 28, 0.05 / 252)]
    [299, 630, 849]
    """
    return ceil(log(alpha) / log1p(-tolerance))


def normal(x: Array) -> Array:
    """The normal distribution function, to 2e-4.

    >>> [round(float(p), 3) for p in normal(np.array([-1.96, 0.0, 1.0]))]
    [0.025, 0.5, 0.841]
    """
    x = np.clip(x, -9.0, 9.0)
    return np.asarray(1 / (1 + np.exp(-1.5976 * x - 0.07056 * x**3)))
