"""Stratified betting: look where the lesion flips answers, and be paid for what was foreseen.

A cell draws its next image from the unseen ones, each image of group h with a chance in proportion
to y_h.  With p_h the flips expected in the group, g_h a guess near ±p_h, W the sum of y over the
unseen, A what ΣD over the unseen must reach if the cell is not SAFE, and μ the sum of g over them,

    x = (A − μ) / N − (D − g_h) W / (N y_h),    E[x | past] = (A − Σ unseen D) / N ≤ 0,

so Π (1 + λ x) is a nonnegative supermartingale if λ, y and g come from the cell's own past and
1 + λ x cannot fall below 0; "not SENSITIVE" is the mirror image.  This holds whatever p is.

What p, y and λ are for, and how they are found, is in `posterior` and `bets`.

Source: Spertus and Stark 2022, Sweeter than SUITE; Shekhar, Xu, Lipton and Liang 2023,
Risk-limiting financial audits.
"""

from collections.abc import Sequence
from math import log

import numpy as np

from lesion.sequential.bets import attention, capped, kelly
from lesion.sequential.posterior import Beliefs, believe
from lesion.sequential.process import Process, before, cumulative
from lesion.sequential.question import Array, Forecast, Question
from lesion.sequential.step import Met, Step
from lesion.sequential.strata import Strata
from lesion.sequential.uniform import SHARES

OWN = 0.9  # of the money against other drops goes with the verdict's bets


class Stratified(Process):
    """Looks at images by groups of equal margin, each cell with its own weights.

    seeds: an int for each cell, its coin.  Cells may share a coin: it says nothing of outcomes, and
    cells with alike pasts then look at the same images.  two_sided: weights that serve both ends of
    an interval instead of the likelier verdict.
    """

    shares = np.append(OWN, np.full(len(SHARES) - 1, (1 - OWN) / (len(SHARES) - 1)))
    tables = 10

    def __init__(
        self,
        question: Question,
        seeds: Sequence[int] | Array,
        two_sided: bool = False,
        least: int = 50,
        record: bool = True,
    ) -> None:
        super().__init__(question, len(seeds), least, record)
        self.strata, self._two_sided = Strata(question), two_sided
        kinds, self._coin = np.unique(np.asarray(seeds, int), return_inverse=True)
        self._clocks = np.stack([self.strata.clocks(int(seed)) for seed in kinds])
        shape = self.cells, self.strata.groups
        self._drawn, self._flips = np.zeros(shape, int), np.zeros(shape)
        self._elapsed = np.zeros(shape)  # weight times time, since the beginning
        self._adverse = np.stack([self.strata.right, ~self.strata.right])
        self._sign = np.where(self._adverse, 1.0, -1.0)
        self._step: Step | None = None

    def _plan(self, cells: Array) -> tuple[Array, Array]:
        step = self._next(cells)
        return step.positions, step.count

    def _next(self, cells: Array) -> Step:
        self._step = (self._step and self._step.of(cells)) or self._prepare(cells)
        return self._step

    def _prepare(self, cells: Array) -> Step:
        left = self.strata.size - self._drawn[cells]
        beliefs = believe(self.strata, self._drawn[cells], self._flips[cells], self.total[cells])
        share, need = left / self.question.images, self._need(cells)
        weight = self._weigh(beliefs, share, need)
        bet, guess = kelly(beliefs.p, share, weight, need, self._sign)
        drawn = self._draw(cells, left, weight)
        return Step(cells, left, weight, bet, guess, beliefs, *drawn)

    def _weigh(self, beliefs: Beliefs, share: Array, need: Array) -> Array:
        """y, for the likelier verdict, or between both where neither is likely."""
        adverse, least = self._adverse | self._two_sided, 0.15 * self.question.tolerance
        each = [
            attention(beliefs.p[:, i], share, need[:, i], self._sign[i], adverse[i], least)
            for i in (0, 1)
        ]
        lean = np.clip((beliefs.safe - 0.2) / 0.6, 0.0, 1.0)[:, None]
        return np.asarray(lean * each[0] + (1 - lean) * each[1])

    def _need(self, cells: Array) -> Array:
        """(cells, 2) A / N: what the unseen D must reach, in the sign of each side."""
        bars, total = self.question.bars, self.total[cells]
        return np.stack([bars[0] - total, total - bars[1]], 1) / self.question.images

    def _draw(self, cells: Array, left: Array, weight: Array) -> tuple[Array, ...]:
        """The images whose clocks run out first: a weighted draw without replacement.

        Group, position, count and time of each cell's draw.  Only as many images of each group as
        the draw is likely to reach are looked at; cells for which that was too few draw again.
        """
        count = self.size(cells)
        most = int(count.max())
        mean = count[:, None] * left * weight / (left * weight).sum(1, keepdims=True)
        window = np.ceil(mean + 3 * np.sqrt(mean) + 3).max(0).astype(int)
        window += max(-(-(most - int(window.sum())) // len(window)), 0)
        group, position, time, short = self._race(cells, left, weight, count, window)
        if short.any():
            again = cells[short], left[short], weight[short], count[short]
            wide = np.full(len(window), most)
            group[short], position[short], time[short], _ = self._race(*again, wide, most)
        return group, position, count, time

    def _race(
        self, cells: Array, left: Array, weight: Array, count: Array, window: Array, most: int = 0
    ) -> tuple[Array, ...]:
        """Group, position and time of a draw among the next `window` images of each group.

        And where the windows were too narrow to tell.
        """
        strata, most = self.strata, most or int(count.max())
        group = np.repeat(np.arange(strata.groups), window)
        rank = np.arange(len(group)) - np.repeat(np.cumsum(window) - window, window)
        place = (strata.start[:-1] + self._drawn[cells])[:, group] + rank
        place = np.minimum(place, self.question.images - 1)
        wait = self._clocks[self._coin[cells, None], place] - self._elapsed[cells][:, group]
        wait = np.maximum(wait, 0.0) / weight[:, group]
        wait[rank >= left[:, group]] = np.inf
        last = wait[:, np.cumsum(window) - 1]
        first = np.argpartition(wait, most - 1, axis=1)[:, :most]
        order = np.argsort(np.take_along_axis(wait, first, 1), axis=1)
        first = np.take_along_axis(first, order, 1)
        row = np.arange(len(cells))
        time = wait[row, first[row, count - 1]]
        short = ((left > window) & (last < time[:, None])).any(1)
        return group[first], strata.layout[place[row[:, None], first]], time, short

    def _learn(self, cells: Array, drops: Array, real: Array) -> tuple[Array, tuple[Array, ...]]:
        step = self._next(cells)
        self._step = None
        met, peaks = self._meet(step, drops, real), np.zeros((len(cells), 2))
        trail = [*self._guesses(step, met)] if self._record else []
        for side in (0, 1):
            gain, bet, room = self._gains(step, met, side)
            path = cumulative(np.log(np.where(real, 1 + capped(bet, room) * gain, 1.0)))
            path += self.wealth[cells, side, None]
            peaks[:, side], self.wealth[cells, side] = path.max(1), path[:, -1]
            trail += [gain, np.broadcast_to(bet, gain.shape), room]
        self._count(step, drops, real)
        return peaks, tuple(trail)

    def _meet(self, step: Step, drops: Array, real: Array) -> Met:
        weight = np.where(real, np.take_along_axis(step.weight, step.group, 1), 0.0)
        spent = (step.left * step.weight).sum(1, keepdims=True) - before(weight)
        images = self.question.images
        scale = np.where(real, spent / (images * np.where(real, weight, 1.0)), 0.0)
        return Met(drops, real, spent / images, scale, before(drops) / images)

    def _gains(self, step: Step, met: Met, side: int) -> tuple[Array, Array, Array]:
        """x, the bet on it, and how far it can fall below 0; for one side."""
        sign, guess = 1 if side == 0 else -1, step.guess[:, side]
        guessed, ahead = self._ahead(step, met, guess)
        gap = self._need(step.cells)[:, side, None] - sign * met.before - ahead
        worst = (self._adverse[side] - guess) / step.weight
        worst = np.where(step.left > 0, worst, -np.inf).max(1, keepdims=True)
        gain = gap - (sign * met.drops - guessed) * met.scale
        return gain, step.bet[:, side, None], worst * met.weight - gap

    def _ahead(self, step: Step, met: Met, guess: Array) -> tuple[Array, Array]:
        """The guess for each image, and the mean of those for it and what follows."""
        guessed = np.where(met.real, np.take_along_axis(guess, step.group, 1), 0.0)
        ahead = (step.left * guess).sum(1, keepdims=True) - before(guessed)
        return guessed, ahead / self.question.images

    def _guesses(self, step: Step, met: Met) -> tuple[Array, ...]:
        """Unbiased guesses of the drop, their bounds, and what was expected of them."""
        lean = step.beliefs.safe[:, None]
        p = lean * step.beliefs.p[:, 0] + (1 - lean) * step.beliefs.p[:, 1]
        guess = self._sign[0] * p
        guessed, ahead = self._ahead(step, met, guess)
        known = self.total[step.cells, None] / self.question.images + met.before + ahead
        left, right = step.left > 0, self.strata.right
        high = np.where(left, (right - guess) / step.weight, -np.inf).max(1, keepdims=True)
        low = np.where(left, (right - 1 - guess) / step.weight, np.inf).min(1, keepdims=True)
        return (
            known + (met.drops - guessed) * met.scale,
            known + low * met.weight,
            known + high * met.weight,
            known,
        )

    def against(self, trail: Array, theta: Array, side: int) -> Array:
        """(cells, bets, images) the verdict's bet, kept against other drops, and plain ones."""
        guess, low, high, known = trail[:4]
        gain, bet, room = trail[4 + 3 * side : 7 + 3 * side]
        sign, edge = (1, high) if side == 0 else (-1, low)
        shift = sign * (theta - self.question.bars[side] / self.question.images)[:, None]
        large = 1 / np.maximum(sign * (edge - known), 1e-12)
        left = sign * (edge - theta[:, None])
        factors = np.empty((len(theta), len(self.shares), large.shape[1]))
        factors[:, 0] = capped(bet, room - shift) * (gain + shift)
        factors[:, 1:] = capped(SHARES[:-1, None] * large[:, None], left[:, None])
        factors[:, 1:] *= (sign * (theta[:, None] - guess))[:, None]
        factors += 1
        return factors

    def _count(self, step: Step, drops: Array, real: Array) -> None:
        shape = len(step.cells), self.strata.groups
        bins = (np.arange(shape[0])[:, None] * shape[1] + step.group).ravel()
        size = shape[0] * shape[1]
        drawn = np.bincount(bins, real.ravel(), size).reshape(shape)
        flips = np.bincount(bins, np.abs(drops * real).ravel(), size).reshape(shape)
        self._drawn[step.cells] += drawn.astype(int)
        self._flips[step.cells] += flips
        self._elapsed[step.cells] += step.weight * step.time[:, None]

    def rest(self, cells: Array) -> tuple[Array, Array]:
        left = self.strata.size - self._drawn[cells]
        return left[:, self.strata.right].sum(1), left[:, ~self.strata.right].sum(1)

    def floor(self, alpha: float) -> int | None:
        """No SAFE comes from fewer images than this, whatever the outcomes.

        Were the broken images that make the cell not SAFE any of those the intact network has
        right, n images would show none of them with this probability: until it is below alpha,
        crossings, which luck with the draws or repaired images could bring, are left waiting.
        """
        right = int(self.question.base.sum())
        unseen = right - np.arange(right)
        enough = np.ceil(self.question.bars[0] - 1e-9)  # fractional drops are at most 1 an image
        with np.errstate(divide="ignore"):
            gain = np.log(unseen / np.maximum(unseen - enough, 0))
        reached = np.cumsum(gain) >= -log(alpha)
        return int(reached.argmax()) + 1 if reached.any() else 1

    def forecast(self, cells: Array, alpha: float | Array) -> Forecast:
        """Where each cell is heading, by the flip models; steers only."""
        unseen, needed = self.question.images - self.seen[cells], -np.log(self.levels(alpha)[cells])
        safe, drop = np.zeros(len(cells)), self.total[cells] / self.question.images
        images = np.zeros(len(cells))
        open_ = np.flatnonzero(unseen)
        if len(open_):
            step = self._next(cells[open_])
            safe[open_], drop[open_] = step.beliefs.safe, step.beliefs.drop
            side = np.where(step.beliefs.safe >= 0.5, 0, 1)
            growth = self._growth(step)[np.arange(len(open_)), side]
            missing = needed[open_] - self.wealth[cells[open_], side]
            images[open_] = np.clip(missing / np.maximum(growth, 1e-9), 0, unseen[open_])
        done = unseen == 0
        safe[done] = self.total[cells][done] <= self.question.limit
        return Forecast(safe, drop, np.where(self.log_e[cells].max(1) >= needed, 0, images))

    def _growth(self, step: Step) -> Array:
        """(cells, 2) expected log wealth of the next image, if p is true."""
        share = (step.left / self.question.images)[:, None] * step.weight[:, None]
        need = self._need(step.cells)
        ahead = (step.left[:, None] * step.guess).sum(2) / self.question.images
        calm = 1 + step.bet[:, :, None] * (
            (need - ahead)[:, :, None] + step.guess / step.weight[:, None]
        )
        flip = calm - step.bet[:, :, None] * self._sign / step.weight[:, None]
        p = step.beliefs.p
        logs = [np.log(np.maximum(value, 1e-3)) for value in (calm, flip)]
        return np.asarray((share * ((1 - p) * logs[0] + p * logs[1])).sum(2))
