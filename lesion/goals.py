"""What a sweep is to find out, and by which rounds of work."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from lesion.aim import Aim
from lesion.deciding import Decisions, images_needed, least_images
from lesion.errors import LesionError
from lesion.plan import Lesion
from lesion.schedule import Work, chosen, gathered, in_order
from lesion.study import Study
from lesion.wording import grouped, points

MOST = 0.8  # of the images: a floor above that leaves little to save


@dataclass(frozen=True)
class Round:
    """Work that can be done in any order, and how many lesioned answers the goal takes in all."""

    works: Iterable[Work]
    total: int


class Goal(Protocol):
    """Names work round by round; what it names depends on the study's outcomes alone."""

    def check(self) -> None:
        """Raises LesionError for what cannot be asked, before any work."""

    def obstacle(self, study: Study, images: int) -> str:
        """Why the study's images cannot reach the goal, whatever comes out; "" if they can."""

    def rounds(self, study: Study, lesions: Sequence[Lesion], images: int) -> Iterator[Round]:
        """The rounds that are left; each is named when the one before it is recorded."""


@dataclass(frozen=True)
class Full:
    """Every lesion on every image."""

    def check(self) -> None:
        """Nothing can be wrong."""

    def obstacle(self, study: Study, images: int) -> str:
        """Nothing."""
        return ""

    def rounds(self, study: Study, lesions: Sequence[Lesion], images: int) -> Iterator[Round]:
        """One round: the images in order, on each all lesions that have not seen it."""
        going = _going(study, lesions)
        missing = {one: ~study.seen(one)[:images] for one in going}
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
        asked = f"at {points(aim.max_drop)} and {aim.confidence:g} % confidence"
        why = f"{grouped(len(study.lesions))} lesions safe {asked}, even if no image breaks"
        least = least_images(study, aim, images)
        if least is None:
            needed = grouped(images_needed(study, aim))
            return (
                f"{grouped(images)} images are too few to call any of {why}: it takes {needed}; "
                "allow a larger drop, or measure fewer ratios"
            )
        if least <= MOST * images:
            return ""
        return (
            f"stopping early saves little: it takes {grouped(least)} of {grouped(images)} images "
            f"to call any of {why}"
        )

    def rounds(self, study: Study, lesions: Sequence[Lesion], images: int) -> Iterator[Round]:
        """First the intact network on all images, then the lesions that are worth most."""
        if not lesions:
            return
        if study.images < images:
            yield Round(in_order({}, images, study.images), 0)
        study.aim(self.aim)
        decisions, done = Decisions(study, self.aim, lesions, images), 0
        while True:
            groups, standings = decisions.standings(study.failed)
            pairs = chosen(standings)
            if not pairs:
                return
            now = [groups[target][place] for target, place in pairs]
            wanted = decisions.wanted(now)
            left = sum(own.left[place] for own in standings for place in own.next())
            if any(map(len, wanted.values())):
                yield Round(gathered(wanted), done + int(left))
            done += sum(map(len, wanted.values()))
            failed = study.failed
            decisions.look([one for one in now if one not in failed])


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

    def rounds(self, study: Study, lesions: Sequence[Lesion], images: int) -> Iterator[Round]:
        """First the intact network on all images, then one step of all that are too wide."""
        if not lesions:
            return
        if study.images < images:
            yield Round(in_order({}, images, study.images), 0)
        study.aim(self.aim)
        decisions, done = Decisions(study, self.aim, lesions, images), 0
        while going := self._wide(decisions, _going(study, lesions)):
            wanted = decisions.wanted(going)
            if any(map(len, wanted.values())):
                yield Round(gathered(wanted), done + len(going) * images // 2)
            done += sum(map(len, wanted.values()))
            failed = study.failed
            decisions.look([one for one in going if one not in failed])

    def _wide(self, decisions: Decisions, lesions: Sequence[Lesion]) -> list[Lesion]:
        ends = 100 * decisions.intervals(lesions, self.aim.confidence / 100)[:, 1:]
        wide = ends[:, 1] - ends[:, 0] > 2 * self.aim.half_width
        return [lesion for lesion, own in zip(lesions, wide, strict=True) if own]


def _going(study: Study, lesions: Sequence[Lesion]) -> list[Lesion]:
    failed = study.failed
    return [one for one in lesions if one not in failed]


def aimed(
    max_drop: float, confidence: float, column: str, half_width: float | None, full: bool
) -> Goal:
    """The goal that is asked for. Raises LesionError for what cannot be asked."""
    if full and half_width is not None:
        raise LesionError("Expected either a half-width or a full sweep, got both; choose one.")
    if half_width is not None and not half_width > 0:
        raise LesionError(f"Expected a half-width above 0 points, such as 0.5, got {half_width:g}.")
    aim = Aim(max_drop, confidence, column, half_width=half_width or 0.0)
    goal: Goal = Full() if full else Narrow(aim) if half_width else Decide(aim)
    goal.check()
    return goal
