"""Rates for networks that are retrained: measured after a recovery, beside one rate for all.

Retraining mends even cuts best, and little is left of what single layers stood without it.  So the
highest rate that a unit may have is lowered step by step, from the rates that are predicted to lose
least towards one rate for all; each step's rates are measured after the same recovery.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lesion.errors import LesionError
from lesion.joint.baselines import UNKNOWN, common_ratios
from lesion.joint.bench import Bench
from lesion.lesions.lesion import Joint
from lesion.network.anatomy import Anatomy
from lesion.rates.allocate import allocated, described, timed
from lesion.rates.allocation import Allocation
from lesion.rates.budget import Budget
from lesion.rates.candidates import Candidate, Candidates, aligned, candidates
from lesion.rates.margins import LEVEL
from lesion.rates.milp import SLACK
from lesion.rates.optimise import accounts_of, bounds_of
from lesion.results.drops import paired
from lesion.results.reading import Reading
from lesion.subject.outcomes import Intact
from lesion.words import grouped, percent

if TYPE_CHECKING:
    from lesion.rates.latency import Times


def levelled(
    reading: Reading,
    bench: Bench,
    allocation: Allocation,
    budget: Budget,
    images: int = 2000,
    times: "Times | None" = None,
    by: str = "",
) -> Allocation:
    """The rates within a budget that are best after the bench's recovery, with the drop measured.

    Candidates: the allocation, what the reading gives for the budget where no unit may have a
    higher rate than so much, for each lower ratio that was measured, what it gives by lesions
    without a recovery, and the smallest rate for all units alike.  The best of them recovers once
    more beside one rate for all, both with another seed, since the best of several is partly so by
    chance.  It is taken where it is ahead in the mean of both by more than a standard error, paired
    image by image; else it is one rate for all, which rests on no prediction.

    reading: the lesions that the rates go by; bench: with a recovery, which is run once a
        candidate, of which there are at most three more than ratios, and twice more
    allocation: rates that were allocated from this study by this budget
    images: how many of the study's order to measure them on; those kept back are not touched

    Raises LesionError for a budget of the least, which names no share.
    """
    budget.check_shares()
    tried = list(_between(reading, allocation, budget, times, by))
    tried += _one_shot(reading, tried, budget, times) if reading.recovery else ()
    even = one_rate(reading, budget, times)
    if even is not None:
        tried.append(even)
    used = reading.study.header.order[:images]
    trial = _Trial(reading, bench, used, bench.intact(used))
    scores = [trial.scores(rates) for rates in tried]
    best = max(range(len(tried)), key=lambda place: float(scores[place].mean(dtype=float)))
    if even is not None and tried[best] is not even:
        gained = scores[best].astype(float) - scores[-1]
        gained += trial.scores(tried[best], 1).astype(float) - trial.scores(even, 1)
        if gained.mean() <= gained.std() / np.sqrt(len(gained)):
            best = len(tried) - 1
    drop, _, high = paired(trial.intact.outcomes[reading.column], scores[best], LEVEL)
    return replace(
        timed(tried[best], reading, times),
        drop=100 * drop,
        high=100 * high,
        measured=True,
        guarantee=f"Measured together after recovery by {bench.engine.recovery} on "
        f"{grouped(len(used))} images, by which they were also chosen, of {len(tried)} sets of "
        "rates; `lesion verify --recover` measures them on others.",
    )


@dataclass(frozen=True, eq=False)
class _Trial:
    """The images that rates are measured on after a recovery, with their intact rows."""

    reading: Reading
    bench: Bench
    images: Sequence[int]
    intact: Intact

    def scores(self, rates: Allocation, seed: int = 0) -> np.ndarray:
        """(images,) what is left of the score with rates."""
        cut = Joint(tuple(rate.unit for rate in rates.cut), seed=seed)
        dropped = {cut: rates.dropped(self.reading.anatomy)}
        return self.bench.outcomes(dropped, self.images, self.intact)[cut][self.reading.column]


def one_rate(reading: Reading, budget: Budget, times: "Times | None" = None) -> Allocation | None:
    """The smallest rate that meets a budget if all its units have it, None where none does.

    Pinned and skipped units keep theirs.
    reading: the lesions whose units are taken
    """
    anatomy = reading.anatomy
    choices = candidates(reading, budget)
    scores = {
        unit: values
        for (unit, kind, criterion, _), values in reading.study.all_scores().items()
        if unit in choices and (kind, criterion) == (anatomy.unit[unit].kind, reading.criterion)
    }
    ratios = [ratio for ratio in common_ratios(scores) if ratio <= budget.max_rate]

    def at(ratio: float) -> dict[str, Candidate]:
        return {
            unit: _cut(anatomy, unit, scores[unit], ratio, budget) if len(some) > 1 else some[0]
            for unit, some in choices.items()
        }

    def met(ratio: float) -> bool:
        single: Candidates = {unit: (choice,) for unit, choice in at(ratio).items()}
        bounds = bounds_of(budget, accounts_of(anatomy, single, times))
        nothing = dict.fromkeys(single, 0)
        return all(bound.account.at(nothing) <= bound.most + SLACK for bound in bounds)

    place = bisect_left(ratios, True, key=met)
    if place == len(ratios):
        return None
    goal = f"{budget.limits()}, one rate for all units, {percent(ratios[place])}"
    return described(reading, at(ratios[place]), goal)


def _cut(
    anatomy: Anatomy, unit: str, scores: np.ndarray, ratio: float, budget: Budget
) -> Candidate:
    fallen = aligned(anatomy, anatomy.unit[unit], scores, ratio, "floor-kept", budget)
    return Candidate(ratio, fallen, UNKNOWN, UNKNOWN)


def _one_shot(
    reading: Reading, known: Sequence[Allocation], budget: Budget, times: "Times | None"
) -> Iterator[Allocation]:
    """The rates by lesions without a recovery, if the study holds them and these are others."""
    try:
        rates = allocated(replace(reading, recovery=""), budget, times)
    except LesionError:  # none, or out of their reach
        return
    if all(rates.filters != other.filters for other in known):
        yield rates


def _between(
    reading: Reading, allocation: Allocation, budget: Budget, times: "Times | None", by: str
) -> Iterator[Allocation]:
    """The rates, and those with ever lower highest rates, as far as the budget can be met."""
    yield allocation
    choices = candidates(reading, budget).values()
    ratios = {each.asked for some in choices for each in some if len(some) > 1 and each.pruned}
    for most in sorted(ratios, reverse=True):
        try:
            lower = allocated(reading, replace(budget, max_rate=most), times, by)
        except LesionError:  # out of reach
            return
        if lower.filters != allocation.filters:
            yield lower
        allocation = lower
