"""What rates are predicted to lose together, from lesions that were measured one by one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import nan
from typing import NamedTuple

import numpy as np

from lesion.errors import EvidenceError, LesionError
from lesion.lesions.lesion import Lesion
from lesion.rates.candidates import Candidates
from lesion.rates.knobs import Knobs
from lesion.rates.margins import LEVEL, Shifts, Unlucky
from lesion.results.drops import paired
from lesion.results.reading import Reading
from lesion.subject.outcomes import EVALUATION

FEWEST, MOST = 200, 5000  # images that lesions have in common: for moves to be added, and enough
MARGIN = "margin"
WAYS = ("margins", "drops")
FLOOR = 1e-3  # of the baseline: what no product falls below


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

    candidates: each unit's choices with their drops; baseline: the intact score in per cent
    moves: of margins, None where drops have to do
    recovery: what the lesions went through before they were scored, "" for nothing
    composes: whether the score is a share of right answers (for "tv" in expectation): those that
        single cuts leave multiply, nearly; what they leave of another score, such as a PSNR, need
        not
    linear: whether drops stand in a unit of their own, so that they are no shares of the baseline
    """

    candidates: Candidates
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
        accuracies multiply, see `losses`; the upper end is that of all upper ends.
        """
        if not self.composes:
            return Prediction(nan, nan)
        if self.moves is None:
            taken = [self.candidates[unit][at] for unit, at in choice.items()]
            drops = self.losses([each.drop for each in taken]).sum()
            highs = self.losses([each.high for each in taken]).sum()
            return Prediction(joint_drop(drops, self.baseline), joint_drop(highs, self.baseline))
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
        nothing, moves = np.zeros_like(self.moves.base), self.moves.moves
        moved = [
            np.stack(
                [
                    sum((moves[unit][at] for unit, at in setting.items()), nothing)
                    for setting in settings
                ]
            )
            for settings in knobs.settings
        ]
        pinned = sum((settings[0] for settings in moved), self.moves.base)
        weights = any(choice.place for choices in self.candidates.values() for choice in choices)
        kind = Unlucky if weights else Shifts  # few bits leave nearly every image right
        return kind(
            self.moves.right.astype(float),
            (0,) * len(moved),
            pinned,
            [settings - settings[0] for settings in moved],
        )


def basis(reading: Reading, candidates: Candidates, by: str = "") -> Basis:
    """What predictions of these choices rest on.

    by: "margins" or "drops"; "" for margins where they are known: where the score is top-1 and
        every lesion that a choice rests on was measured on the same first images of the order,
        without a recovery: what retraining moves comes with every lesion, so it does not add up

    Raises EvidenceError where it has to be margins and they are not known.
    """
    if by not in ("", *WAYS):
        raise LesionError(f"Expected predictions by {' or '.join(WAYS)}, got '{by}'.")
    study, column, recovery = reading.study, reading.column, reading.recovery
    if column == EVALUATION:
        if by == "margins":
            raise EvidenceError(
                f"Expected margins of images in {study.path}, but it holds whole evaluations; let "
                "drops do (--by drops)."
            )
        return Basis(candidates, reading.baseline, recovery=recovery, composes=False, linear=True)
    wanted = by == "margins" or (by == "" and not recovery)
    known = wanted and column == "top1" and MARGIN in study.header.columns
    moves = _moves(reading, candidates) if known else None
    if by == "margins" and moves is None:
        raise EvidenceError(
            f"Expected margins of the same images from every lesion in {study.path}, of "
            f"{FEWEST} at least, but it does not hold so many: sweep it with --full (top-1), or "
            "let drops do (--by drops)."
        )
    return Basis(candidates, reading.baseline, moves, recovery, _hits(reading, candidates))


def _hits(reading: Reading, candidates: Candidates) -> bool:
    """Whether a user's score says of each image that it is right or not, whatever is cut."""
    if reading.column != "score":
        return True
    lesioned = map(reading.study.outcomes, _lesions(candidates))
    outcomes = chain([reading.intact.outcomes], lesioned)
    return all(bool(np.isin(part[reading.column], (0, 1)).all()) for part in outcomes)


def _lesions(candidates: Candidates) -> list[Lesion]:
    """Those that choices rest on."""
    every = (choice.lesion for choices in candidates.values() for choice in choices)
    return list(dict.fromkeys(lesion for lesion in every if lesion))


def _moves(reading: Reading, candidates: Candidates) -> Moves | None:
    """The margins' moves, None where they are not known of all choices."""
    study, lesions = reading.study, _lesions(candidates)
    damaging = [each for choices in candidates.values() for each in choices if each.order]
    if not lesions or any(choice.lesion is None for choice in damaging):
        return None
    images = _common(reading, lesions)
    if images < min(FEWEST, len(study.header.order)):
        return None
    intact = reading.intact.take(slice(images))
    base = intact.outcomes[MARGIN].astype(np.float32)
    moved: dict[Lesion | None, np.ndarray] = {
        lesion: study.outcomes(lesion)[MARGIN][:images].astype(np.float32) - base
        for lesion in lesions
    }
    moved[None] = np.zeros_like(base)
    moves = {
        unit: np.stack([moved[choice.lesion] for choice in choices])
        for unit, choices in candidates.items()
    }
    return Moves(intact.outcomes["top1"], base, moves)


def _common(reading: Reading, lesions: Iterable[Lesion]) -> int:
    """How many images, from the first of the order on, all lesions have seen."""
    seen = np.ones(len(reading.intact), bool)
    for lesion in lesions:
        seen &= reading.study.seen(lesion)[: len(seen)]
    return min(MOST, len(seen) if seen.all() else int(seen.argmin()))


def losses(drops: np.ndarray, baseline: float) -> np.ndarray:
    """Drops in points as numbers that add up: −log(1 − drop / baseline).

    Then accuracies multiply: each cut keeps its share of what is right, whatever others took.

    >>> losses(np.array([0.0, 45.0]), 90.0).round(4).tolist()
    [0.0, 0.6931]
    """
    left = np.maximum(1 - np.asarray(drops, float) / max(baseline, FLOOR), FLOOR)
    found: np.ndarray = 0.0 - np.log(left)
    return found


def joint_drop(loss: float, baseline: float) -> float:
    """The drop in points that a sum of losses stands for.

    >>> one = losses(np.array([9.0]), 90.0).sum()
    >>> round(joint_drop(one, 90.0), 6), round(joint_drop(2 * one, 90.0), 6)
    (9.0, 17.1)
    """
    return float(baseline * -np.expm1(-loss))
