"""Rates put to the test: applied together, on images that had no part in choosing them."""

from collections.abc import Iterator, Sequence
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
from lesion.study import Study
from lesion.tally import Score
from lesion.together import Bench, bench
from lesion.verification import Check, Verification, record

if TYPE_CHECKING:
    from lesion.latency import Times

SHRINK, CAREFUL = 0.95, 0.8  # at least so much less each round; what was learned, with a margin
POWER = 4.0  # of what is cut, by which joint drops grow before a second check tells
ROUNDS, LITTLE = 20, 1e-3


class Verifier:
    """The images kept back, and the rates that are tried on them one after the other.

    Each check spends its share of the error, α / 2 for the first of the study, α / 4 for the
    second and so on, whoever asks for it: so with the stated confidence none of them ever calls
    rates safe that are not, although later ones are chosen by what earlier ones showed.
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
        number = len(self.study.checks) + 1
        alpha = (1 - self.aim.confidence / 100) * 0.5**number
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
        check = Check(
            allocation, self.aim.max_drop, alpha, number, *found[:1], int(process.seen[0]),
            len(self.held), 100 * float(question.base.mean()), *found[1:],
        )  # fmt: skip
        record(self.study, check)
        return check

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
    close_loop: the budget by which rates are tightened until they are certified, see `tightened`
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
    return Verification((verifier.check(allocation),), verifier.aim.confidence)


def tightened(
    verifier: Verifier, allocation: Allocation, budget: Budget, rounds: int = 2,
    images: int = 2000, times: "Times | None" = None,
) -> Verification:  # fmt: skip
    """Rates that are tightened by what each check showed, until they are certified.

    Each round cuts less of the budget's first resource: joint drops grow as a power of what is cut,
    a steep one that the last two checks tell; the others of the budget give way alike, its pins and
    multiples stay.

    rounds: of refining each round's rates on so many of the study's own images, 0 for none;
        networks that recover before they are measured are not refined
    times: for a budget of latency
    Raises LesionError where nothing is left to cut, with what was learned.
    """
    loop = _Loop(verifier, budget, rounds, images, times)
    return Verification(tuple(loop.checks(allocation)), verifier.aim.confidence)


class _Loop:
    """Rates that are tightened, and what was learned on the way.

    known: (share of the first resource that was to be cut, points that it lost), the last last
    """

    def __init__(
        self, verifier: Verifier, budget: Budget, rounds: int, images: int,
        times: "Times | None",
    ) -> None:  # fmt: skip
        self.verifier, self.budget, self.times, self.images = verifier, budget, times, images
        self.rounds = 0 if isinstance(verifier.bench.engine, Recovered) else rounds
        self.known = [(0.0, 0.0)]

    def checks(self, allocation: Allocation) -> Iterator[Check]:
        """A check a round, the last one SAFE. Raises LesionError where nothing is left to cut."""
        cut, tried = _cut(allocation, self.budget), [allocation.filters]
        for _ in range(ROUNDS):
            check = self.verifier.check(allocation)
            yield check
            if check.verdict == Verdict.SAFE.value:
                return
            self.known.append((cut, check.drop))
            easier = self._easier(allocation, tried)
            if easier is None:
                break
            allocation, cut = easier
            tried.append(allocation.filters)
        raise LesionError(
            f"Expected rates that lose at most {self.verifier.aim.max_drop:g} points together, but "
            f"the study's ratios leave none: the last that were tried lose {check.drop:.2f}; "
            "measure smaller ratios, or allow more."
        )

    def _easier(
        self, last: Allocation, tried: Sequence[dict[str, tuple[int, ...]]]
    ) -> tuple[Allocation, float] | None:
        """Rates for a smaller cut that were not checked yet, and that cut; None without any.

        Those that lose too much on the study's own images are not worth a check.
        """
        most = self.verifier.aim.max_drop
        cut = _less(self.known, most)
        while cut > LITTLE:
            found = self._allocated(last, cut)
            if found is None:
                return None
            if self.rounds and found.drop > most:
                self.known.append((cut, found.drop))
                cut = _less(self.known, most)
            elif found.filters in tried:
                cut *= SHRINK
            else:
                return found, cut
        return None

    def _allocated(self, last: Allocation, cut: float) -> Allocation | None:
        """The best rates for so large a cut, None where nothing is cut or pins ask for more."""
        whole = 1 - self.budget.shares.get(self.budget.first, 0.0)
        budget = self.budget.easing(cut / max(whole, cut))
        study = self.verifier.study
        try:
            found = allocate(
                study, budget, times=self.times, criterion=last.criterion, column=last.column
            )
        except LesionError:
            return None
        if found.cut and self.rounds:
            found = refine(
                study, self.verifier.bench, found, budget, images=self.images,
                rounds=self.rounds, times=self.times,
            )  # fmt: skip
        return found if found.cut else None


def _cut(allocation: Allocation, budget: Budget) -> float:
    """The share of the budget's first resource that the rates cut."""
    if budget.first == "params":
        return 1 - allocation.pruned.parameters / allocation.intact.parameters
    if budget.first == "latency" and allocation.milliseconds:
        return 1 - allocation.milliseconds[1] / allocation.milliseconds[0]
    return 1 - allocation.pruned.macs / allocation.intact.macs


def _less(known: Sequence[tuple[float, float]], max_drop: float) -> float:
    """How much to cut, so that by what is known the drop is a little below the tolerance."""
    (before, lost), (cut, drop) = known[-2:]
    power = POWER
    if 0 < cut < before and 0 < drop < lost:
        power = float(np.clip(np.log(lost / drop) / np.log(before / cut), 1, 2 * POWER))
    worse = max(drop, max_drop)
    return cut * min(SHRINK, float((CAREFUL * max_drop / worse) ** (1 / power)))
