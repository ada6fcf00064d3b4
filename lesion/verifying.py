"""Rates put to the test: applied together, on images that had no part in choosing them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from lesion import sequential
from lesion.adapter import Adapter
from lesion.aim import Aim
from lesion.allocating import allocate
from lesion.allocation import Allocation
from lesion.budget import Budget
from lesion.curves import column_of, paired
from lesion.deciding import asked, looking
from lesion.errors import EvidenceError, LesionError
from lesion.outcomes import Intact, Outcomes
from lesion.plan import Joint
from lesion.question import Verdict
from lesion.recovered import Recovered
from lesion.recovery import Recover
from lesion.refining import refine
from lesion.shifts import LEVEL
from lesion.study import Study
from lesion.tally import Score
from lesion.together import Bench, bench
from lesion.verification import Check, Verification, begin, confidence_in, end
from lesion.wording import grouped

if TYPE_CHECKING:
    from lesion.latency import Times

SHRINK, CAREFUL = 0.95, 0.8  # at least so much less each step; of what may be lost, a margin
POWER = 4.0  # of what is cut, by which joint drops grow before a second measurement tells
ROUNDS, LITTLE, FINE = 20, 1e-3, 0.02  # checks; shares of a resource
MORE = 3  # times as many images rates are measured on as they are refined on


class Verifier:
    """The images kept back, and the rates that are tried on them one after the other.

    Each check spends its share of the error, α / 2 for the first of the study, α / 4 for the
    second and so on, whoever asks for it: so with the stated confidence none of them ever calls
    rates safe that are not, although later ones are chosen by what earlier ones showed. Where more
    was spent, as in copies that are joined, less confidence is stated, see `confidence_in`.
    """

    def __init__(self, study: Study, bench: Bench, aim: Aim, full: bool = False) -> None:
        aim.check()
        if not study.header.holdout:
            raise EvidenceError(
                f"Expected images kept back for checking rates, but {study.path} has none: make "
                "the study with --holdout 0.2."
            )
        self.study, self.bench, self.aim, self.full = study, bench, aim, full
        self.held = study.header.holdout
        self.intact: Intact = bench.intact(self.held)

    def check(self, allocation: Allocation) -> Check:
        """Measures the rates, as many images as it takes, and remembers what came of it."""
        allocation.check(self.study.header.subject)
        place, number, alpha = begin(self.study, self.aim.confidence)
        try:
            check = self._checked(allocation, number, alpha)
        except BaseException:
            end(self.study, place, None)
            raise
        end(self.study, place, check)
        return check

    def _checked(self, allocation: Allocation, number: int, alpha: float) -> Check:
        question = asked(self.intact, self.aim, self.study.header.settings)
        process = looking(question, self.study, self.aim, 1)
        joint = Joint(tuple(rate.unit for rate in allocation.cut))
        gone = allocation.dropped(self.study.anatomy)
        parts: list[Outcomes] = []
        while process.seen[0] < len(self.held):
            if process.verdicts(alpha)[0] is not Verdict.UNDECIDED and not self.full:
                break
            (wanted,) = process.choose([0])
            parts.append(self._measured(joint, gone, wanted))
            scores = parts[-1][self.aim.column].astype(float)
            process.update([0], [scores[np.argsort(np.argsort(wanted))]])
        found = self._summed(process, parts, alpha)
        return Check(
            allocation, self.aim.max_drop, alpha, number, *found[:1], int(process.seen[0]),
            len(self.held), 100 * float(question.base.mean()), *found[1:],
        )  # fmt: skip

    def _measured(self, joint: Joint, gone: np.ndarray, wanted: np.ndarray) -> Outcomes:
        """Outcomes of the images `wanted` of those kept back, positions rising."""
        rows = np.sort(wanted)
        if not joint.units:
            return self.intact.outcomes.take(rows)
        images = [self.held[row] for row in rows]
        found = self.bench.outcomes({joint: gone}, images, self.intact.take(rows))
        return Outcomes(rows, found[joint].columns)

    def _summed(
        self, process: sequential.Process, parts: list[Outcomes], alpha: float
    ) -> tuple[str, float, float, float]:
        """Verdict, drop and its interval in points."""
        columns = (self.aim.column,)
        if process.seen[0] < len(self.held):
            found = sequential.intervals(process, np.array([0]), alpha)
            ends = (100 * float(part[0]) for part in (found.drop, found.low, found.high))
            return (process.verdicts(alpha)[0].value, *ends)  # type: ignore[return-value]
        seen = Outcomes.join([part for part in parts], columns)
        base = self.intact.outcomes[self.aim.column]
        drop, low, high = paired(base, seen[self.aim.column], self.aim.confidence / 100)
        verdict = process.verdicts(alpha)[0]
        if process.question.estimand == "set":
            lost = float((base.astype(float) - seen[self.aim.column]).sum())
            verdict = Verdict.SAFE if lost <= process.question.limit else Verdict.SENSITIVE
        return verdict.value, 100 * drop, 100 * low, 100 * high


def verify(
    study: Study,
    network: nn.Module,
    data: Any,
    allocation: Allocation,
    *,
    max_drop: float = 1.0,
    confidence: float = 95,
    close_loop: Budget | None = None,
    full: bool = False,
    score: str | Score | None = None,
    adapter: Adapter | None = None,
    recovery: str | Recover = "",
    train: Any = None,
) -> Verification:
    """The rates applied together, measured on the images that the study kept back.

    network, data: the study's own
    max_drop: what they may lose together, in points; confidence: that no check of the study calls
        rates safe that are not, in per cent
    close_loop: the budget whose cut is reduced until the rates are certified, see `tightened`
    full: measure all images kept back, though the verdict be certain before
    score: where the study's is a function, that function
    recovery: what the pruned network goes through before it is measured, such as "finetune:200";
        train: its training images, none of them among those measured

    Raises StudyError where network or data are others than the study's, EvidenceError where it
    keeps no images back.
    """
    ready = bench(
        study, network, data, score=score, adapter=adapter, recovery=recovery, train=train
    )
    verifier = Verifier(study, ready, Aim(max_drop, confidence, column_of(study, None)), full)
    if close_loop is None:
        return once(verifier, allocation)
    return tightened(verifier, allocation, close_loop)


def once(verifier: Verifier, allocation: Allocation) -> Verification:
    """The rates as they are, measured once."""
    check = verifier.check(allocation)
    return Verification((check,), confidence_in(verifier.study, verifier.aim.confidence))


def tightened(
    verifier: Verifier, allocation: Allocation, budget: Budget, rounds: int = 2,
    images: int = 2000, times: "Times | None" = None, recovery: str = "", by: str = "",
) -> Verification:  # fmt: skip
    """Rates that are tightened by what each check showed, until they are certified.

    After each check the largest cut of the budget's first resource is looked for whose rates lose
    little enough on the study's own images: at first 0.8 of the tolerance, after each check that
    fails so much less as it missed by. The others of the budget give way alike, its pins and
    multiples stay.

    rounds: of refining rates on so many of the study's own images, or half of these, before they
        are measured on others of them; 0 for none. Networks that recover before they are measured
        are not refined
    times: for a budget of latency; recovery, by: which lesions `allocate` goes by, and how
    Raises LesionError where nothing is left to cut, with what was learned.
    """
    study, bench = verifier.study, verifier.bench
    refined = rounds and not recovery and not isinstance(bench.engine, Recovered)
    order = study.header.order
    first = min(images, len(order) // 2) if refined else 0
    others = order[first : first + MORE * images]

    def best(eased: Budget) -> Allocation:
        found = allocate(
            study, eased, times=times, criterion=allocation.criterion, column=allocation.column,
            recovery=recovery, by=by,
        )  # fmt: skip
        if found.cut and refined:
            found = refine(study, bench, found, eased, images=first, rounds=rounds, times=times)
        return _measured(bench, found, others)

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
            found = self._largest(cut, tried)
            if found is None:
                break
            allocation, cut = found
        raise LesionError(
            f"Expected rates that lose at most {most:g} points together, but the study's ratios "
            f"leave none: the last that were tried lose {check.drop:.2f}; measure smaller ratios, "
            "or allow more."
        )

    def _largest(self, high: float, tried: Sequence[Allocation]) -> tuple[Allocation, float] | None:
        """Rates for the largest cut below one that lose little enough on the study's own images.

        Of cuts that differ by less than FINE any will do. None where no cut does.
        """
        found, cut = None, _less(self.known, self.limit)
        low = 0.0
        while cut > LITTLE and (found is None or high - low > FINE):
            try:
                own = self.best(self._budget(cut))
            except LesionError:  # pins ask for more
                return found
            if not own.cut:
                return found
            if own.drop > self.limit or any(own.filters == one.filters for one in tried):
                high = cut
                self.known.append((cut, own.drop))
            else:
                found, low = (own, cut), cut
            cut = _less(self.known, self.limit) if found is None else (low + high) / 2
        return found

    def _budget(self, cut: float) -> Budget:
        """The budget, eased to so large a cut of its first resource."""
        whole = 1 - self.budget.shares.get(self.budget.first, 0.0)
        return self.budget.easing(cut / max(whole, cut))


def _measured(bench: Bench, allocation: Allocation, images: Sequence[int]) -> Allocation:
    """The allocation with the drop that it measures on a study's own images."""
    if not allocation.cut:
        return allocation
    joint, intact = Joint(tuple(rate.unit for rate in allocation.cut)), bench.intact(images)
    cut = {joint: allocation.dropped(bench.dissection.anatomy)}
    scores = bench.outcomes(cut, images, intact)[joint][allocation.column]
    drop, _, high = paired(intact.outcomes[allocation.column], scores, LEVEL)
    return replace(
        allocation, drop=100 * drop, high=100 * high, measured=True,
        guarantee=f"Measured together on {grouped(len(images))} of the study's own images.",
    )  # fmt: skip


def _cut(allocation: Allocation, budget: Budget) -> float:
    """The share of the budget's first resource that the rates cut."""
    if budget.first == "params":
        return 1 - allocation.pruned.parameters / allocation.intact.parameters
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
