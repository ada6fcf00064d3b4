"""What a sweep is to find out, and by which rounds of work."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from lesion.errors import LesionError
from lesion.lesions.lesion import Lesion
from lesion.sequential import Verdict
from lesion.study.aim import Aim
from lesion.study.decisions import MANY, Decisions, images_needed, least_images
from lesion.study.study import Study
from lesion.sweeps.work import Standing, Work, chosen, gathered, in_order
from lesion.words import grouped, points

Next = Callable[[Decisions], tuple[list[Lesion], int]]
MOST = 0.8  # of the images: a floor above that leaves little to save


@dataclass(frozen=True)
class Round:
    """Work that can be done in any order, and how many lesioned answers the goal takes in all."""

    works: Iterable[Work]
    total: int


class Goal(Protocol):
    """Names work round by round; what it names depends on the study's outcomes alone."""

    @property
    def aim(self) -> Aim:
        """What is asked of every lesion."""

    def check(self) -> None:
        """Raises LesionError for what cannot be asked, before any work."""

    def obstacle(self, study: Study, images: int) -> str:
        """Why the study's images cannot reach the goal, whatever comes out; "" if they can."""

    def rounds(self, study: Study, gains: Mapping[Lesion, float], images: int) -> Iterator[Round]:
        """The rounds that are left; each is named when the one before it is recorded.

        gains: the lesions, each with what it saves
        """


@dataclass(frozen=True)
class Full:
    """Every lesion on every image.

    aim: what is to be told of them before that, while some images are missing
    """

    aim: Aim = field(default_factory=Aim)

    def check(self) -> None:
        """Raises LesionError for a tolerance or confidence that cannot be."""
        self.aim.check()

    def obstacle(self, study: Study, images: int) -> str:
        """Nothing."""
        return ""

    def rounds(self, study: Study, gains: Mapping[Lesion, float], images: int) -> Iterator[Round]:
        """One round: the images in order, on each all lesions that have not seen it."""
        going = _going(study, gains)
        missing = {lesion: ~study.seen(lesion)[:images] for lesion in going}
        total = sum(int(left.sum()) for left in missing.values())
        yield Round(in_order(missing, images, study.images), total)


@dataclass(frozen=True)
class Decide:
    """Of each target the largest ratio that is safe and the next one that is not, as aimed."""

    aim: Aim = field(default_factory=Aim)

    def check(self) -> None:
        """Raises LesionError for a tolerance or confidence that cannot be."""
        self.aim.check()

    def obstacle(self, study: Study, images: int) -> str:
        """Too few images to call anything safe, or to save any work, even if no image breaks."""
        if not study.lesions:
            return ""
        aim = self.aim
        question = f"at {points(aim.max_drop)} and {aim.confidence:g} % confidence"
        why = f"{grouped(len(study.lesions))} lesions safe {question}, even if no image breaks"
        least = least_images(study, aim, images)
        if least is None:
            needed = images_needed(study, aim, images)
            takes = grouped(needed) if needed else f"more than {grouped(MANY)}"
            return (
                f"{grouped(images)} images are too few to call any of {why}: it takes {takes}; "
                "allow a larger drop, or measure fewer ratios"
            )
        if least <= MOST * images:
            return ""
        return (
            f"stopping early saves little: it takes {grouped(least)} of {grouped(images)} images "
            f"to call any of {why}"
        )

    def rounds(self, study: Study, gains: Mapping[Lesion, float], images: int) -> Iterator[Round]:
        """First the intact network on all images, then the lesions that are worth most."""

        def next_(decisions: Decisions) -> tuple[list[Lesion], int]:
            groups, standings = standings_of(decisions, gains)
            left = sum(standing.left[at] for standing in standings for at in standing.next())
            return [groups[target][place] for target, place in chosen(standings)], int(left)

        return _stepwise(study, self.aim, gains, images, next_)


@dataclass(frozen=True)
class Narrow:
    """Every lesion until its drop is known as closely as aimed, `aim.half_width` to both sides."""

    aim: Aim = field(default_factory=lambda: Aim(half_width=0.5))

    def check(self) -> None:
        """Raises LesionError for a half-width or confidence that cannot be."""
        self.aim.check()

    def obstacle(self, study: Study, images: int) -> str:
        """Nothing: once all images are seen the drop is known."""
        return ""

    def rounds(self, study: Study, gains: Mapping[Lesion, float], images: int) -> Iterator[Round]:
        """First the intact network on all images, then one step of all that are too wide."""
        return _stepwise(study, self.aim, gains, images, self._next)

    def _next(self, decisions: Decisions) -> tuple[list[Lesion], int]:
        left = _too_wide(decisions, self.aim.half_width)
        return left, len(left) * decisions.images // 2


@dataclass(frozen=True)
class Chart(Narrow):
    """Every lesion until its verdict, or until the process that decides knows its drop closely
    enough: curves at all ratios that agree with the advice.

    half_width: in points, to both sides
    """

    aim: Aim = field(default_factory=Aim)
    half_width: float = 2.0

    def _next(self, decisions: Decisions) -> tuple[list[Lesion], int]:
        verdicts, wide = decisions.verdicts(), _too_wide(decisions, self.half_width)
        left = [lesion for lesion in wide if verdicts[lesion] is Verdict.UNDECIDED]
        return left, len(left) * decisions.images // 2


def _too_wide(decisions: Decisions, half_width: float) -> list[Lesion]:
    """The lesions whose drops are not known to so many points on both sides."""
    going = _going(decisions.study, decisions.lesions)
    ends = 100 * decisions.intervals(going, decisions.aim.confidence / 100)[:, 1:]
    wide = ends[:, 1] - ends[:, 0] > 2 * half_width
    return [lesion for lesion, too_wide in zip(going, wide, strict=True) if too_wide]


def standings_of(
    decisions: Decisions, gains: Mapping[Lesion, float]
) -> tuple[list[list[Lesion]], list[Standing]]:
    """The lesions of each target, the least harm first, and how far they have come.

    gains: what each saves
    """
    damages, targets = decisions.study.damages, dict[tuple[Any, ...], list[Lesion]]()
    for lesion in sorted(gains, key=lambda each: damages[each.damage].severity(each.amount)):
        key = (lesion.damage, lesion.target, lesion.kind, lesion.seed, lesion.rounding)
        targets.setdefault(key, []).append(lesion)
    verdicts = decisions.verdicts()
    failed = decisions.study.failed  # nothing beyond what fails can be recommended
    verdicts |= {lesion: Verdict.SENSITIVE for lesion in failed if lesion in gains}
    forecast, process = decisions.forecast(), decisions.process
    left = np.where(process.seen < decisions.images, np.maximum(forecast.images, 1), 0)
    standings = []
    for group in targets.values():
        places = decisions.places(group)
        standings.append(
            Standing(
                verdict=[verdicts[lesion].value for lesion in group],
                seen=process.seen[places].tolist(),
                safe=forecast.safe[places].tolist(),
                left=left[places].tolist(),
                gain=[gains[lesion] for lesion in group],
            )
        )
    return list(targets.values()), standings


def _stepwise(
    study: Study, aim: Aim, gains: Mapping[Lesion, float], images: int, next_: Next
) -> Iterator[Round]:
    """The intact network on all images; then round by round the next step of some lesions.

    next_: the lesions to go on with, none at the end, and how many answers may be left in all
    """
    if not gains:
        return
    if study.images < images:
        yield Round(in_order({}, images, study.images), 0)
    study.aim(aim)
    decisions, done = Decisions(study, aim, list(gains), images), 0
    while (step := next_(decisions))[0]:
        now, left = step
        wanted = decisions.wanted(now)
        if any(map(len, wanted.values())):
            yield Round(gathered(wanted), done + left)
        done += sum(map(len, wanted.values()))
        decisions.look(_going(study, now))


def _going(study: Study, lesions: Iterable[Lesion]) -> list[Lesion]:
    failed = study.failed
    return [lesion for lesion in lesions if lesion not in failed]


def aimed(
    max_drop: float, confidence: float, column: str, half_width: float | None, full: bool
) -> Goal:
    """The goal that is asked for. Raises LesionError for what cannot be asked."""
    if full and half_width is not None:
        raise LesionError("Expected either a half-width or a full sweep, got both; choose one.")
    if half_width is not None and not half_width > 0:
        raise LesionError(f"Expected a half-width above 0 points, such as 0.5, got {half_width:g}.")
    aim = Aim(max_drop, confidence, column, half_width=half_width or 0.0)
    goal: Goal = Full(aim) if full else Narrow(aim) if half_width else Decide(aim)
    goal.check()
    return goal
