"""Rates that are tightened by what each check showed, until they are certified."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lesion.errors import LesionError
from lesion.joint.bench import Bench
from lesion.joint.refine import refined
from lesion.joint.verification import Check, Verification, confidence_in
from lesion.joint.verifier import Verifier
from lesion.lesions.lesion import Joint
from lesion.rates.allocate import allocated
from lesion.rates.allocation import Allocation
from lesion.rates.budget import Budget
from lesion.rates.margins import LEVEL
from lesion.results.drops import paired
from lesion.results.reading import Reading
from lesion.sequential.question import Verdict
from lesion.words import grouped

if TYPE_CHECKING:
    from lesion.rates.latency import Times

SHRINK, CAREFUL = 0.95, 0.8  # at least so much less each step; of what may be lost, a margin
POWER = 4.0  # of what is cut, by which joint drops grow before a second measurement tells
ROUNDS, LITTLE, FINE = 20, 1e-3, 0.02  # checks; shares of a resource
MORE = 3  # times as many images rates are measured on as they are refined on


def tightened(
    verifier: Verifier,
    reading: Reading,
    allocation: Allocation,
    budget: Budget,
    rounds: int = 2,
    images: int = 2000,
    times: "Times | None" = None,
    by: str = "",
) -> Verification:
    """Rates that are tightened by what each check showed, until they are certified.

    After each check the largest cut of the budget's first resource is looked for whose rates lose
    little enough on the study's own images: at first 0.8 of the tolerance, after each check that
    fails so much less as it missed by. The others of the budget give way alike, its pins and
    multiples stay.

    reading: the lesions that rates go by; by: and how
    rounds: of refining rates on so many of the study's own images, or half of these, before they
        are measured on others of them; 0 for none. Networks that recover before they are measured
        are not refined, nor are rates that change weights
    times: for a budget of latency
    Raises LesionError where nothing is left to cut, with what was learned.
    """
    bench = verifier.bench
    refine = rounds and not reading.recovery and not bench.engine.recovery
    order = verifier.study.header.order
    first = min(images, len(order) // 2) if refine else 0
    others = order[first : first + MORE * images]

    def best(eased: Budget) -> Allocation:
        rates = allocated(reading, eased, times, by)
        if rates.cut and refine and not rates.weights:
            rates = refined(reading, bench, rates, eased, first, rounds, times)
        return _measured(bench, rates, others)

    loop = _Loop(verifier, budget, best)
    checks = tuple(loop.checks(allocation))
    return Verification(checks, confidence_in(verifier.study, verifier.aim.confidence))


class _Loop:
    """Rates that are tightened, and what was learned on the way.

    best: gives the best rates within a budget, with the drop that they measure on the study's own
        images; raises LesionError where there are none
    limit: how many points rates may lose on the study's own images to be worth a check
    known: (share of the first resource that was to be cut, points that it lost there), the last
        last; where a check failed, at least so many times the limit as it failed by
    """

    def __init__(
        self, verifier: Verifier, budget: Budget, best: Callable[[Budget], Allocation]
    ) -> None:
        self.verifier, self.budget, self.best = verifier, budget, best
        self.known = [(0.0, 0.0)]
        self.limit = CAREFUL * verifier.aim.max_drop

    def checks(self, allocation: Allocation) -> Iterator[Check]:
        """A check a round, the last one SAFE. Raises LesionError where nothing is left to cut."""
        cut, most = _cut(allocation, self.budget), self.verifier.aim.max_drop
        tried: list[Allocation] = []
        for _ in range(ROUNDS):
            check = self.verifier.check(allocation)
            yield check
            if check.verdict == Verdict.SAFE.value:
                return
            lost = check.drop
            if tried:  # so these had lost little on the study's own images
                self.limit *= CAREFUL * most / max(check.drop, most)
                lost = max(allocation.drop, self.limit * check.drop / (CAREFUL * most))
            tried.append(allocation)
            self.known.append((cut, lost))
            largest = self._largest(cut, tried)
            if largest is None:
                break
            allocation, cut = largest
        raise LesionError(
            f"Expected rates that lose at most {most:g} points together, but the study's ratios "
            f"leave none: the last that were tried lose {check.drop:.2f}; measure smaller ratios, "
            "or allow more."
        )

    def _largest(self, high: float, tried: Sequence[Allocation]) -> tuple[Allocation, float] | None:
        """Rates for the largest cut below one that lose little enough on the study's own images.

        Of cuts that differ by less than FINE any will do. None where no cut does.
        """
        largest, cut = None, _less(self.known, self.limit)
        low = 0.0
        while cut > LITTLE and (largest is None or high - low > FINE):
            try:
                rates = self.best(self._budget(cut))
            except LesionError:  # pins ask for more
                return largest
            if rates.idle:
                return largest
            known = any(_alike(rates, other) for other in tried)
            if rates.drop > self.limit or known:
                high = cut
                self.known.append((cut, rates.drop))
            else:
                largest, low = (rates, cut), cut
            cut = _less(self.known, self.limit) if largest is None else (low + high) / 2
        return largest

    def _budget(self, cut: float) -> Budget:
        """The budget, eased to so large a cut of its first resource."""
        whole = 1 - self.budget.shares.get(self.budget.first, 0.0)
        return self.budget.easing(cut / max(whole, cut))


def _measured(bench: Bench, allocation: Allocation, images: Sequence[int]) -> Allocation:
    """The allocation with the drop that it measures on a study's own images."""
    if allocation.idle:
        return allocation
    joint, intact = Joint(tuple(rate.unit for rate in allocation.cut)), bench.intact(images)
    edits = {joint: bench.edit(allocation)}
    scores = bench.outcomes(edits, images, intact)[joint][allocation.column]
    drop, _, high = paired(intact.outcomes[allocation.column], scores, LEVEL)
    return replace(
        allocation,
        drop=100 * drop,
        high=100 * high,
        measured=True,
        guarantee=f"Measured together on {grouped(len(images))} of the study's own images.",
    )


def _alike(rates: Allocation, other: Allocation) -> bool:
    """Whether two sets of rates do the same."""
    return rates.filters == other.filters and rates.changes == other.changes


def _cut(allocation: Allocation, budget: Budget) -> float:
    """The share of the budget's first resource that the rates cut."""
    if budget.first == "params":
        return 1 - allocation.pruned.parameters / allocation.intact.parameters
    if budget.first in ("bytes", "bops") and allocation.footprints:
        whole, left = (getattr(each, budget.first) for each in allocation.footprints)
        return 1.0 - float(left / whole)
    if budget.first == "latency" and allocation.milliseconds:
        return 1 - allocation.milliseconds[1] / allocation.milliseconds[0]
    return 1 - allocation.pruned.macs / allocation.intact.macs


def _less(known: Sequence[tuple[float, float]], limit: float) -> float:
    """How much to cut, so that by what is known the drop is within the limit."""
    (before, lost), (cut, drop) = known[-2:]
    power = POWER
    if 0 < cut < before and 0 < drop < lost:
        power = float(np.clip(np.log(lost / drop) / np.log(before / cut), 1, 2 * POWER))
    return cut * min(SHRINK, float((limit / max(drop, limit)) ** (1 / power)))
