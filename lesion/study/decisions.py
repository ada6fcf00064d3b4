"""Lesions put to a question: does it cost more than the tolerance?  As far as outcomes tell."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lesion import sequential
from lesion.lesions.lesion import Lesion
from lesion.sequential import Forecast, Process, Question, Verdict
from lesion.study.aim import Aim
from lesion.study.error_shares import shares, tolerances
from lesion.study.header import Header
from lesion.study.recorded import Recorded
from lesion.study.study import Study
from lesion.subject.outcomes import Intact

MANY = 1_000_000  # images: more are not counted


@dataclass(frozen=True)
class Decision:
    """A lesion's verdict, from how many images, and how many more it would likely take."""

    verdict: str
    images: int
    left: float


class Decisions:
    """The lesions of a study under one aim: which images each wants next, and its verdict so far.

    A lesion's verdict depends on its own outcomes alone, in an order that was fixed before any was
    seen; so it holds whenever one stops, whatever made one stop.

    recorded: of these lesions and images, where another aim has read them already
    """

    def __init__(
        self,
        study: Study,
        aim: Aim,
        lesions: Sequence[Lesion],
        images: int | None = None,
        recorded: Recorded | None = None,
    ) -> None:
        aim.check()
        self.study, self.aim, self.lesions = study, aim, tuple(lesions)
        intact = study.intact(images)
        self.images = len(intact)
        self.recorded = recorded or Recorded(study, aim.column, self.lesions, self.images)
        self.question = asked(intact, aim, study.header)
        self.process = looking(self.question, study, aim, len(self.lesions))
        self._forecast = Forecast(*np.zeros((3, len(self.lesions))))
        self._seen = np.full(len(self.lesions), -1)  # by each when that was made

    @cached_property
    def alpha(self) -> np.ndarray:
        """(lesions,) each one's share of the error, see `error_shares`."""
        return shares(self.study, self.aim, self.lesions, self.images)

    @cached_property
    def implied(self) -> dict[Lesion, Verdict]:
        """What follows from verdicts at the tolerance that was planned, which have most of α.

        Who loses at most that loses at most a larger one, and who loses more loses more than a
        smaller one.
        """
        implied: dict[Lesion, Verdict] = {}
        for max_drop in tolerances(self.study, self.aim, self.lesions, self.images):
            certain = Verdict.SAFE if max_drop < self.aim.max_drop else Verdict.SENSITIVE
            verdicts = zip(self.lesions, self._planned(max_drop), strict=True)
            implied |= {lesion: verdict for lesion, verdict in verdicts if verdict is certain}
        return implied

    def _planned(self, max_drop: float) -> list[Verdict]:
        """The verdicts at a tolerance that was planned, followed once for all that ask."""
        aim, known = replace(self.aim, max_drop=max_drop), self.recorded.verdicts
        if aim not in known:
            planned = Decisions(self.study, aim, self.lesions, self.images, self.recorded)
            planned.follow()
            known[aim] = planned.process.verdicts(planned.alpha)
        return known[aim]

    def places(self, lesions: Iterable[Lesion]) -> np.ndarray:
        """Their numbers in the process."""
        return np.array([self.recorded.place[lesion] for lesion in lesions], int)

    def wanted(self, lesions: Sequence[Lesion]) -> dict[Lesion, np.ndarray]:
        """The images that each lesion looks at next and has no outcomes of."""
        chosen = zip(lesions, self.process.choose(self.places(lesions)), strict=True)
        return {
            lesion: images[np.isnan(self.recorded[lesion][images])] for lesion, images in chosen
        }

    def look(self, lesions: Sequence[Lesion]) -> None:
        """One step further for each of the lesions, whose outcomes are recorded by now."""
        self.refresh(lesions)
        places = self.places(lesions)
        chosen = zip(lesions, self.process.choose(places), strict=True)
        self.process.update(places, [self.recorded[lesion][images] for lesion, images in chosen])

    def follow(self) -> None:
        """Every lesion as far as its recorded outcomes go, or until its verdict.

        Outcomes that came since they were read count after `refresh`.
        """
        if not self.lesions:
            return
        scores = self.recorded.table
        if not self.aim.half_width:
            sequential.decide(self.process, scores, self.alpha)
            return
        going = np.arange(len(self.lesions))
        while len(going := going[self.process.seen[going] < self.images]):
            going = going[self.process.follow(going, scores)]

    def verdicts(self) -> dict[Lesion, Verdict]:
        """Where each lesion stands."""
        verdicts = dict(zip(self.lesions, self.process.verdicts(self.alpha), strict=True))
        undecided = {lesion for lesion, verdict in verdicts.items() if verdict is Verdict.UNDECIDED}
        implied = undecided & self.implied.keys()
        return verdicts | {lesion: self.implied[lesion] for lesion in implied}

    def refresh(self, lesions: Iterable[Lesion]) -> None:
        """Read again what is recorded of some lesions."""
        self.recorded.refresh(lesions)

    def decisions(self) -> dict[Lesion, Decision]:
        """What the recorded outcomes say of each lesion, followed as far as they go."""
        self.follow()
        return self.decided()

    def decided(self) -> dict[Lesion, Decision]:
        """What is certain of each lesion by now.

        Of this evaluation set outcomes say all once every image is seen; else the process decides.
        """
        if not self.lesions:
            return {}
        verdicts, made = self.verdicts(), {}
        left, counts = self.forecast().images.tolist(), self.recorded.counts.tolist()
        for lesion, seen, more in zip(self.lesions, counts, left, strict=True):
            verdict = verdicts[lesion]
            if seen == self.images and self.question.estimand == "set":
                verdict = exact(self.question, self.recorded[lesion])
            made[lesion] = Decision(verdict.value, seen, float(more))
        return made

    def forecast(self) -> Forecast:
        """Where each lesion is heading; only those are asked that have looked further since."""
        changed = np.flatnonzero(self._seen != self.process.seen)
        if len(changed):
            forecast = self.process.forecast(changed, self.alpha)
            for known, values in zip(self._forecast, forecast, strict=True):
                known[changed] = values
            self._seen[changed] = self.process.seen[changed]
        return self._forecast

    def intervals(self, lesions: Sequence[Lesion], level: float) -> np.ndarray:
        """Drop, and both ends of its anytime-valid interval, as proportions: (lesions, 3)."""
        ends = sequential.intervals(self.process, self.places(lesions), 1 - level)
        return np.stack([ends.drop, ends.low, ends.high], axis=1)


def asked(intact: Intact, aim: Aim, header: Header) -> Question:
    """What is asked of images that the intact network has seen."""
    base = intact.outcomes[aim.column]
    margin = intact.margin if np.isfinite(intact.margin).all() else None
    return Question(
        aim.max_drop / 100,
        base.astype(float),
        margin,
        header.setting("estimand"),
        hits=base.dtype == bool,
    )


def exact(question: Question, scores: np.ndarray) -> Verdict:
    """The verdict on scores of all images of the evaluation set."""
    return _within(question, float((question.base - scores).sum()))


def _within(question: Question, total: float) -> Verdict:
    return Verdict.SAFE if total <= question.limit else Verdict.SENSITIVE


def totals(study: Study, column: str, lesions: Sequence[Lesion]) -> dict[Lesion, float] | None:
    """What all images of the evaluation set lose by each lesion, summed; then no verdict is a
    matter of confidence.  None where a lesion has not seen them all, or claims are of a population.
    """
    intact = study.intact()
    if study.header.setting("estimand") != "set":
        return None
    if not all(study.seen(lesion)[: len(intact)].all() for lesion in lesions):
        return None
    base = intact.outcomes[column].astype(float)
    return {
        lesion: float((base - study.outcomes(lesion)[column][: len(intact)]).sum())
        for lesion in lesions
    }


def settled(question: Question, totals: Mapping[Lesion, float]) -> dict[Lesion, Decision]:
    """The verdicts that sums over all images give."""
    return {
        lesion: Decision(_within(question, total).value, question.images, 0.0)
        for lesion, total in totals.items()
    }


def looking(question: Question, study: Study, aim: Aim, cells: int) -> Process:
    """How cells look at the images: where the network hesitates, if that is known and asked."""
    order = "uniform" if aim.half_width else study.header.setting("order")
    known = question.margin is not None and question.binary and question.estimand == "set"
    if order == "margin" and known:
        return sequential.stratified(question, [_coin(study)] * cells)
    return sequential.uniform(question, cells)


def _coin(study: Study) -> int:
    """One coin for all lesions, so that those with alike outcomes look at the same images."""
    text = study.header.subject["order"]
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "little")


class Evaluated:
    """The lesions of a study that were evaluated as a whole: no test, the drops as they are."""

    def __init__(self, study: Study, aim: Aim, lesions: Sequence[Lesion]) -> None:
        self.study, self.aim, self.lesions = study, aim, tuple(lesions)

    def decided(self) -> dict[Lesion, Decision]:
        """A verdict on each lesion that has a value."""
        values = self.study.evaluations
        drops = {
            lesion: values[None] - values[lesion] for lesion in self.lesions if lesion in values
        }
        return {lesion: Decision(self._verdict(drop), 0, 0.0) for lesion, drop in drops.items()}

    def _verdict(self, drop: float) -> str:
        verdict = Verdict.SAFE if drop <= self.aim.max_drop else Verdict.SENSITIVE
        return verdict.value


def least_images(study: Study, aim: Aim, images: int) -> int | None:
    """No lesion is called safe from fewer images than this; None where `images` are too few."""
    return _least(study, aim, images, _largest_share(study, aim, images))


def images_needed(study: Study, aim: Aim, images: int) -> int | None:
    """How many images it takes for any lesion to be called safe, where `images` are too few.

    None where it takes more than MANY.
    """
    alpha, least = _largest_share(study, aim, images), None
    while least is None and images < MANY:
        images *= 2
        least = _least(study, aim, images, alpha)
    return least


def _largest_share(study: Study, aim: Aim, images: int) -> float:
    return float(shares(study, aim, study.lesions, images).max())


def _least(study: Study, aim: Aim, images: int, alpha: float) -> int | None:
    estimand, order = study.header.setting("estimand"), study.header.setting("order")
    ones = np.ones(images)
    question = Question(aim.max_drop / 100, ones, ones, estimand, hits=True)
    by_margin = order == "margin" and estimand == "set" and not aim.half_width
    return sequential.floor(question, alpha, "margin" if by_margin else "uniform")
