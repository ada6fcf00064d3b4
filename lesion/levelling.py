"""Rates for networks that are retrained: measured after a recovery, beside one rate for all.

Retraining mends even cuts best, and little is left of what single layers stood without it.  So the
highest rate that a unit may have is lowered step by step, from the rates that are predicted to lose
least towards one rate for all; each step's rates are measured after the same recovery.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lesion.allocating import allocate, choices, described, timed
from lesion.allocation import Allocation
from lesion.budget import Budget
from lesion.candidates import Candidate, Candidates, aligned
from lesion.curves import paired
from lesion.errors import LesionError
from lesion.plan import Joint
from lesion.recovered import Recovered
from lesion.rivals import UNKNOWN, common_ratios
from lesion.shifts import LEVEL
from lesion.solving import SLACK
from lesion.study import Study
from lesion.together import Bench
from lesion.within import accounts_of, bounds_of
from lesion.wording import grouped, percent

if TYPE_CHECKING:
    from lesion.latency import Times


def level(
    study: Study, bench: Bench, allocation: Allocation, budget: Budget, *, images: int = 2000,
    times: "Times | None" = None, recovery: str = "", by: str = "",
) -> Allocation:  # fmt: skip
    """The rates within a budget that are best after the bench's recovery, with the drop measured.

    Candidates: the allocation, what `allocate` gives for the budget where no unit may have a higher
    rate than so much, for each lower ratio that was measured, what it gives by lesions without a
    recovery, and the smallest rate for all units alike.  The best of them recovers once more beside
    one rate for all, both with another seed, since the best of several is partly so by chance.  It
    is taken where it is ahead in the mean of both by more than a standard error, paired image by
    image; else it is one rate for all, which rests on no prediction.

    bench: with a recovery; it is run once a candidate, of which there are at most three more than
        ratios, and twice more
    allocation: rates that were allocated from this study by this budget
    images: how many of the study's order to measure them on; those kept back are not touched
    recovery, by: which lesions `allocate` goes by, and how

    Raises LesionError for a bench without a recovery, and for a budget of the least, which names no
    share.
    """
    budget.check_shares()
    if not isinstance(bench.engine, Recovered):
        raise LesionError(
            "Expected a bench with a recovery for rates that are measured after it, got none; give "
            "recovery=… and train=… (--recover finetune:100 --train DATA)."
        )
    found = list(_between(study, allocation, budget, times, recovery, by))
    found += _one_shot(study, found, budget, times) if recovery else ()
    even = one_rate(study, budget, allocation, times, recovery)
    if even is not None:
        found.append(even)
    used = study.header.order[:images]
    intact, column = bench.intact(used), allocation.column

    def scores(one: Allocation, seed: int = 0) -> np.ndarray:
        cut = Joint(tuple(rate.unit for rate in one.cut), seed=seed)
        (own,) = bench.outcomes({cut: one.dropped(study.anatomy)}, used, intact).values()
        return own[column]

    first = [scores(one) for one in found]
    taken = max(range(len(found)), key=lambda one: float(first[one].mean(dtype=float)))
    if even is not None and found[taken] is not even:
        gained = first[taken].astype(float) - first[-1]
        gained += scores(found[taken], 1).astype(float) - scores(even, 1)
        if gained.mean() <= gained.std() / np.sqrt(len(gained)):
            taken = len(found) - 1
    drop, _, high = paired(intact.outcomes[column], first[taken], LEVEL)
    return replace(
        timed(study, found[taken], times), drop=100 * drop, high=100 * high, measured=True,
        guarantee=f"Measured together after recovery by {bench.engine.recovery} on "
        f"{grouped(len(used))} images, by which they were also chosen, of {len(found)} sets of "
        "rates; `lesion verify --recover` measures them on others.",
    )  # fmt: skip


def one_rate(
    study: Study, budget: Budget, beside: Allocation, times: "Times | None" = None,
    recovery: str = "",
) -> Allocation | None:  # fmt: skip
    """The smallest rate that meets a budget if all its units have it, None where none does.

    Pinned and skipped units keep theirs.
    beside: rates allocated for this budget, whose criterion is taken
    recovery: that of the lesions whose units are taken
    """
    anatomy = study.anatomy
    found = choices(study, budget, beside.criterion, beside.column, recovery=recovery)
    scores = {
        unit: own for (unit, kind, criterion, _), own in study.all_scores().items()
        if unit in found and (kind, criterion) == (anatomy.unit[unit].kind, beside.criterion)
    }  # fmt: skip
    ratios = [ratio for ratio in common_ratios(scores) if ratio <= budget.max_rate]

    def taken(ratio: float) -> dict[str, Candidate]:
        return {
            unit: own[0] if len(own) == 1 else Candidate(ratio, aligned(
                anatomy, anatomy.unit[unit], scores[unit], ratio, "floor-kept", budget
            ), UNKNOWN, UNKNOWN)
            for unit, own in found.items()
        }  # fmt: skip

    def met(ratio: float) -> bool:
        single: Candidates = {unit: (one,) for unit, one in taken(ratio).items()}
        bounds = bounds_of(budget, accounts_of(anatomy, single, times))
        nothing = dict.fromkeys(single, 0)
        return all(one.account.at(nothing) <= one.most + SLACK for one in bounds)

    place = bisect_left(ratios, True, key=met)
    if place == len(ratios):
        return None
    return described(
        study, taken(ratios[place]),
        f"{budget.limits()}, one rate for all units, {percent(ratios[place])}",
        beside.criterion, beside.column, beside.baseline,
    )  # fmt: skip


def _one_shot(
    study: Study, known: Sequence[Allocation], budget: Budget, times: "Times | None"
) -> Iterator[Allocation]:
    """The rates by lesions without a recovery, if the study holds them and these are others."""
    try:
        found = allocate(
            study, budget, times=times, criterion=known[0].criterion, column=known[0].column
        )
    except LesionError:  # none, or out of their reach
        return
    if all(found.filters != one.filters for one in known):
        yield found


def _between(
    study: Study, allocation: Allocation, budget: Budget, times: "Times | None", recovery: str,
    by: str,
) -> Iterator[Allocation]:  # fmt: skip
    """The rates, and those with ever lower highest rates, as far as the budget can be met."""
    yield allocation
    criterion, column = allocation.criterion, allocation.column
    found = choices(study, budget, criterion, column, recovery=recovery)
    ratios = {one.asked for own in found.values() for one in own if len(own) > 1 and one.pruned}
    for most in sorted(ratios, reverse=True):
        try:
            lower = allocate(
                study, replace(budget, max_rate=most), times=times, criterion=criterion,
                column=column, recovery=recovery, by=by,
            )  # fmt: skip
        except LesionError:  # out of reach
            return
        if lower.filters != allocation.filters:
            yield lower
        allocation = lower
