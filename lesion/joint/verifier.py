"""The images kept back, and the rates that are tried on them one after the other."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lesion import sequential
from lesion.errors import EvidenceError
from lesion.joint.bench import Bench
from lesion.joint.verification import Check, Verification, begin, confidence_in, end
from lesion.lesions.edits import Edit
from lesion.lesions.lesion import Joint
from lesion.rates.allocation import Allocation
from lesion.results.drops import paired
from lesion.sequential.question import Verdict
from lesion.study.aim import Aim
from lesion.study.decisions import asked, exact, looking
from lesion.study.study import Study
from lesion.subject.outcomes import Intact, Outcomes


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
        question = asked(self.intact, self.aim, self.study.header)
        process = looking(question, self.study, self.aim, 1)
        joint = Joint(tuple(rate.unit for rate in allocation.cut))
        edit = None if allocation.idle else self.bench.edit(allocation)
        parts: list[Outcomes] = []
        while process.seen[0] < len(self.held):
            if process.verdicts(alpha)[0] is not Verdict.UNDECIDED and not self.full:
                break
            (wanted,) = process.choose([0])
            parts.append(self._measured(joint, edit, wanted))
            scores = parts[-1][self.aim.column].astype(float)
            process.update([0], [scores[np.argsort(np.argsort(wanted))]])
        finding = self._finding(process, parts, alpha)
        return Check(
            allocation,
            self.aim.max_drop,
            alpha,
            number,
            finding.verdict.value,
            int(process.seen[0]),
            len(self.held),
            100 * float(question.base.mean()),
            100 * finding.drop,
            100 * finding.low,
            100 * finding.high,
        )

    def _measured(self, joint: Joint, edit: Edit | None, wanted: np.ndarray) -> Outcomes:
        """Outcomes of the images `wanted` of those kept back, positions rising."""
        rows = np.sort(wanted)
        if edit is None:
            return self.intact.outcomes.take(rows)
        images = [self.held[row] for row in rows]
        outcomes = self.bench.outcomes({joint: edit}, images, self.intact.take(rows))
        return Outcomes(rows, outcomes[joint].columns)

    def _finding(
        self, process: sequential.Process, parts: Sequence[Outcomes], alpha: float
    ) -> "_Finding":
        """What the images seen say."""
        verdict = process.verdicts(alpha)[0]
        if process.seen[0] < len(self.held):
            ends = sequential.intervals(process, np.array([0]), alpha)
            return _Finding(verdict, float(ends.drop[0]), float(ends.low[0]), float(ends.high[0]))
        scores = Outcomes.join(parts, (self.aim.column,))[self.aim.column]
        base = self.intact.outcomes[self.aim.column]
        if process.question.estimand == "set":
            verdict = exact(process.question, scores)
        return _Finding(verdict, *paired(base, scores, self.aim.confidence / 100))


class _Finding(NamedTuple):
    """A verdict, the drop and its interval, as proportions."""

    verdict: Verdict
    drop: float
    low: float
    high: float


def once(verifier: Verifier, allocation: Allocation) -> Verification:
    """The rates as they are, measured once."""
    check = verifier.check(allocation)
    return Verification((check,), confidence_in(verifier.study, verifier.aim.confidence))
