"""What rates are predicted to lose together, from lesions that were measured one by one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import nan
from typing import NamedTuple

import numpy as np

from lesion.candidates import Candidates
from lesion.composing import joint_drop, losses
from lesion.curves import paired
from lesion.errors import EvidenceError, LesionError
from lesion.knobs import Knobs
from lesion.outcomes import EVALUATION
from lesion.plan import Lesion
from lesion.shifts import LEVEL, Shifts
from lesion.study import Study

FEWEST, MOST = 200, 5000  # images that lesions have in common: for moves to be added, and enough
MARGIN = "margin"
WAYS = ("margins", "drops")


class Prediction(NamedTuple):
    """A joint drop in points, and its upper end as far as the choice of images goes; NaN where
    there is no rule by which single drops add up."""

    drop: float
    high: float


@dataclass(frozen=True, eq=False)
class Moves:
    """How single lesions moved the margins of the same images.

    right: (images,) what the intact network has right; base: its margins
    moves: for each unit (choices, images)
    """

    right: np.ndarray
    base: np.ndarray
    moves: Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Basis:
    """What predictions rest on.

    found: each unit's choices with their drops; baseline: the intact score in per cent
    moves: of margins, None where drops have to do
    recovery: what the lesions went through before they were scored, "" for nothing
    composes: whether the score is a share of right answers (for "tv" in expectation): those that
        single cuts leave multiply, nearly; what they leave of another score, such as a PSNR, need
        not
    linear: whether drops stand in a unit of their own, so that they are no shares of the baseline
    """

    found: Candidates
    baseline: float
    moves: Moves | None = None
    recovery: str = ""
    composes: bool = True
    linear: bool = False

    @property
    def by(self) -> str:
        """Which of `WAYS` it is."""
        return "drops" if self.moves is None else "margins"

    def predicted(self, choice: Mapping[str, int]) -> Prediction:
        """By margins: each image's moves are added, and those below 0 are wrong.  By drops:
        accuracies multiply, see `lesion.composing`; the upper end is that of all upper ends.
        """
        if not self.composes:
            return Prediction(nan, nan)
        if self.moves is None:
            taken = [self.found[unit][at] for unit, at in choice.items()]
            ends = ([one.drop for one in taken], [one.high for one in taken])
            return Prediction(*(
                joint_drop(losses(np.array(own, float), self.baseline).sum(), self.baseline)
                for own in ends
            ))  # fmt: skip
        margins = sum((self.moves.moves[u][at] for u, at in choice.items()), self.moves.base)
        drop, _, high = paired(self.moves.right, margins > 0, LEVEL)
        return Prediction(100 * drop, 100 * high)

    def losses(self, drops: Sequence[float]) -> np.ndarray:
        """Single drops as numbers whose sum is to be least."""
        values = np.array(drops, float)
        return values if self.linear else losses(values, self.baseline)

    def shifts(self, knobs: Knobs) -> Shifts:
        """The moves of each knob's settings, from the first of them on."""
        assert self.moves is not None
        own = self.moves.moves
        moved = [
            np.stack([sum((own[unit][at] for unit, at in setting.items()),
                          np.zeros_like(self.moves.base)) for setting in settings])
            for settings in knobs.settings
        ]  # fmt: skip
        pinned = sum((some[0] for some in moved), self.moves.base)
        return Shifts(
            self.moves.right.astype(float), (0,) * len(moved), pinned,
            [some - some[0] for some in moved],
        )  # fmt: skip


def basis(
    study: Study, found: Candidates, column: str, criterion: str, recovery: str = "", by: str = ""
) -> Basis:
    """What predictions of these choices rest on.

    by: "margins" or "drops"; "" for margins where they are known: where the score is top-1 and
        every lesion that a choice rests on was measured on the same first images of the order,
        without a recovery: what retraining moves comes with every lesion, so it does not add up

    Raises EvidenceError where it has to be margins and they are not known.
    """
    if by not in ("", *WAYS):
        raise LesionError(f"Expected predictions by {' or '.join(WAYS)}, got '{by}'.")
    if column == EVALUATION:
        return Basis(found, _evaluated(study, by), recovery=recovery, composes=False, linear=True)
    baseline = 100 * float(study.intact().outcomes[column].mean())
    wanted = by == "margins" or (by == "" and not recovery)
    known = wanted and column == "top1" and MARGIN in study.header.columns
    lesions = _lesions(study, criterion, recovery)
    moves = _moves(study, found, lesions) if known else None
    if by == "margins" and moves is None:
        raise EvidenceError(
            f"Expected margins of the same images from every lesion in {study.path}, but it has "
            "none: sweep it with --full (top-1), or let drops do (--by drops)."
        )
    return Basis(found, baseline, moves, recovery, _hits(study, column, lesions.values()))


def _evaluated(study: Study, by: str) -> float:
    """The intact network's evaluation. Raises EvidenceError where there is none, or no margins."""
    if by == "margins":
        raise EvidenceError(
            f"Expected margins of images in {study.path}, but it holds whole evaluations; let "
            "drops do (--by drops)."
        )
    if None not in study.evaluations:
        raise EvidenceError(
            f"Expected evaluations in {study.path}, but it holds none: run the sweep first."
        )
    return study.evaluations[None]


def _hits(study: Study, column: str, lesions: Iterable[Lesion]) -> bool:
    """Whether a user's score says of each image that it is right or not, whatever is cut."""
    if column != "score":
        return True
    scores = chain([study.intact().outcomes], map(study.outcomes, lesions))
    return all(bool(np.isin(own[column], (0, 1)).all()) for own in scores)


def _moves(
    study: Study, found: Candidates, lesions: Mapping[tuple[str, float], Lesion]
) -> Moves | None:
    """The margins' moves, None where they are not known of all choices."""
    keys = {(unit, one.measured) for unit, own in found.items() for one in own if one.pruned}
    if not keys or not keys <= lesions.keys():
        return None
    images = _common(study, (lesions[key] for key in keys))
    if images < min(FEWEST, len(study.header.order)):
        return None
    intact = study.intact(images)
    base = intact.outcomes[MARGIN].astype(np.float32)
    moved = {
        key: study.outcomes(lesions[key])[MARGIN][:images].astype(np.float32) - base
        for key in keys
    }  # fmt: skip
    nothing = np.zeros_like(base)
    return Moves(intact.outcomes["top1"], base, {
        unit: np.stack([moved[unit, one.measured] if one.pruned else nothing for one in own])
        for unit, own in found.items()
    })  # fmt: skip


def _lesions(study: Study, criterion: str, recovery: str) -> dict[tuple[str, float], Lesion]:
    """The lesions of one criterion by what they cut and the ratio asked."""
    return {
        (one.target, one.amount): one for one in study.lesions
        if (one.criterion, one.recovery) == (criterion, recovery)
        and one.kind in ("free", "coupled")
    }  # fmt: skip


def _common(study: Study, lesions: Iterable[Lesion]) -> int:
    """How many images, from the first of the order on, all lesions have seen."""
    seen = np.ones(study.images, bool)
    for lesion in lesions:
        seen &= study.seen(lesion)[: study.images]
    return min(MOST, len(seen) if seen.all() else int(seen.argmin()))
