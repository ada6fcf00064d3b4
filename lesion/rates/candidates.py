"""What each unit may lose, and what it costs the accuracy: the choices that rates are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from typing import NamedTuple

import numpy as np

from lesion.errors import EvidenceError, LesionError
from lesion.lesions.lesion import Lesion, Target
from lesion.lesions.ratios import falling
from lesion.network.anatomy import Anatomy, Unit
from lesion.rates.budget import Budget, fixed
from lesion.results.reading import Reading


@dataclass(frozen=True, eq=False)
class Candidate:
    """A unit with some of its channels gone, or a layer whose weight is damaged otherwise.

    asked: the ratio that was asked for, before channels were aligned, or the amount of damage
    fallen: (channels,) booleans; of a layer's weight none
    drop, high: points lost, and the upper end of the interval, at the ratio `measured`
    reason: why the unit has no other choice
    lesion: the one by which that is known, None for nothing done and for ratios without numbers
    place: of a layer's weight, its number among the choices, those that save least first
    """

    asked: float
    fallen: np.ndarray
    drop: float = 0.0
    high: float = 0.0
    measured: float = 0.0
    reason: str = ""
    lesion: Lesion | None = None
    place: int = 0

    @property
    def pruned(self) -> int:
        """How many channels fall."""
        return int(self.fallen.sum())

    @property
    def order(self) -> int:
        """What rises from choice to choice: channels that fall, or a layer's places."""
        return self.place or self.pruned


Candidates = dict[str, tuple[Candidate, ...]]


def candidates(
    reading: Reading, budget: Budget, more: Mapping[str, Sequence[float]] | None = None
) -> Candidates:
    """For each unit that may lose channels its choices, fewest pruned first, the first without any.

    more: ratios of units to choose from beside those that were measured
    A ratio that has no numbers, or whose channels were aligned, is taken to cost what the next
    measured ratio at or above it costs: of two such sets of filters it falls within the other.

    Raises EvidenceError where a pinned unit has no curve that reaches its rate, and LesionError
    where no unit has as many channels as they are to be aligned to, and for lesions that prune
    nothing.
    """
    if not reading.filters:
        raise LesionError(
            "Expected lesions that prune filters for rates that are applied together, got those of "
            f"{reading.damage}: sweep filters, or name them."
        )
    kinds = ("free",) if budget.per == "layer" else ("free", "coupled")
    units: dict[str, list[Lesion]] = {}
    for lesion in reading.drops:
        if lesion.kind in kinds:
            units.setdefault(lesion.target, []).append(lesion)
    pins = fixed(reading.anatomy, budget)
    for unit, ratio in pins.items():
        if ratio and unit not in units:
            raise EvidenceError(
                f"Expected a curve of {unit}, which is to have rate {ratio:g}, but "
                f"{reading.study.path} has none: sweep it (--units all for a coupled unit), or "
                "drop the rate."
            )
    widest = max((reading.anatomy.unit[name].channels for name in units), default=0)
    if units and widest < budget.align:
        raise LesionError(
            f"Expected channels aligned to {widest} or fewer, the most that a unit here has, got "
            f"{budget.align}."
        )
    added = more or {}
    return {
        name: _of_unit(reading, lesions, budget, pins.get(name), added.get(name, ()))
        for name, lesions in units.items()
    }


def _of_unit(
    reading: Reading,
    lesions: Sequence[Lesion],
    budget: Budget,
    pin: float | None,
    more: Sequence[float],
) -> tuple[Candidate, ...]:
    """The choices of one unit, whatever seeds and roundings were measured: the worst counts."""
    first, anatomy = lesions[0], reading.anatomy
    unit = anatomy.unit[first.target]
    scores = reading.study.scores(unit.name, unit.kind, first.criterion, first.seed)
    assert scores is not None
    none = Candidate(0.0, np.zeros(unit.channels, bool))
    if unit.held:
        return (replace(none, reason=unit.held),)
    if pin == 0:
        return (replace(none, reason="stays whole, as asked"),)
    ratios = {*(lesion.amount for lesion in lesions), *more}
    known = sorted(ratio for ratio in ratios if ratio <= budget.max_rate)
    points, choices = _points(reading, lesions), []
    for ratio in known if pin is None else [pin]:
        fallen = aligned(anatomy, unit, scores, ratio, first.rounding, budget)
        above = [point for point in points if point.pruned >= fallen.sum()]
        if fallen.any() and (above or ratio in more):
            reason = "" if pin is None else "the rate that was asked for"
            point = above[0] if above else UNKNOWN
            choices.append(
                Candidate(ratio, fallen, point.drop, point.high, point.ratio, reason, point.lesion)
            )
    if pin is None:
        return (none, *choices)
    if not choices:
        raise EvidenceError(
            f"Expected a curve of {unit.name} that reaches rate {pin:g} (channels a multiple of "
            f"{budget.align}, {budget.least} at least), but {reading.study.path} has none: measure "
            "that ratio, or give another rate."
        )
    return tuple(choices)


class _Point(NamedTuple):
    """What was measured of a unit with so many channels gone."""

    pruned: int
    ratio: float
    drop: float
    high: float
    lesion: Lesion | None = None


UNKNOWN = _Point(0, nan, nan, nan)


def _points(reading: Reading, lesions: Sequence[Lesion]) -> list[_Point]:
    """What was measured, fewest pruned first, of equally many the worst."""
    worst: dict[int, _Point] = {}
    for lesion in lesions:
        cost = reading.drops[lesion]
        if cost.reason == "":
            high = cost.drop if isnan(cost.high) else cost.high
            point = _Point(lesion.pruned, lesion.amount, cost.drop, high, lesion)
            known = worst.get(point.pruned, point)
            worst[point.pruned] = max(known, point, key=lambda some: some.high)
    return [worst[pruned] for pruned in sorted(worst)]


def aligned(
    anatomy: Anatomy, unit: Unit, scores: np.ndarray, ratio: float, rounding: str, budget: Budget
) -> np.ndarray:
    """Which channels of a unit fall at a ratio, if so many stay as the budget's multiples ask.

    Channels that would fall last stay in addition, so that no set of filters is larger than
    asked; none falls where the unit has too few, or its groups cannot lose that many.
    """
    target = Target(unit.name, unit.kind)
    fallen = falling(anatomy, target, scores, ratio, rounding)
    kept = unit.channels - int(fallen.sum())
    if kept >= budget.least and kept % budget.align == 0:
        return fallen
    start = -(-max(kept, budget.least) // budget.align) * budget.align
    for stay in range(start, unit.channels, budget.align):
        fallen = falling(anatomy, target, scores, 1 - stay / unit.channels, "floor-kept")
        if unit.channels - int(fallen.sum()) == stay:
            return fallen
    return np.zeros(unit.channels, bool)


def dropped(anatomy: Anatomy, choice: Mapping[str, Candidate]) -> np.ndarray:
    """The labels that fall if each unit takes its choice, as booleans over all labels."""
    gone = np.zeros(anatomy.channels, bool)
    for name, candidate in choice.items():
        if len(candidate.fallen):
            unit = anatomy.unit[name]
            gone[unit.first : unit.first + unit.channels] = candidate.fallen
    return gone
