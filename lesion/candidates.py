"""What each unit may lose, and what it costs the accuracy: the choices that rates are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan
from typing import Any

import numpy as np
import pandas as pd

from lesion.anatomy import Anatomy, Unit
from lesion.budget import Budget, fixed
from lesion.errors import EvidenceError, LesionError
from lesion.plan import Target, falling
from lesion.study import Study


@dataclass(frozen=True, eq=False)
class Candidate:
    """A unit with some of its channels gone.

    asked: the ratio that was asked for, before channels were aligned; fallen: (channels,) booleans
    drop, high: points lost, and the upper end of the interval, at the ratio `measured`
    reason: why the unit has no other choice
    """

    asked: float
    fallen: np.ndarray
    drop: float = 0.0
    high: float = 0.0
    measured: float = 0.0
    reason: str = ""

    @property
    def pruned(self) -> int:
        """How many channels fall."""
        return int(self.fallen.sum())


Candidates = dict[str, tuple[Candidate, ...]]


def candidates(study: Study, frame: pd.DataFrame, budget: Budget) -> Candidates:
    """For each unit that may lose channels its choices, fewest pruned first, the first without any.

    frame: the study's curves by one criterion, without recovery or with one.  A ratio that has no
    numbers, or whose channels were aligned, is taken to cost what the next measured ratio at or
    above it costs: of two such sets of filters it falls within the other.

    Raises EvidenceError where a pinned unit has no curve that reaches its rate, and LesionError
    where no unit has as many channels as they are to be aligned to.
    """
    anatomy = study.anatomy
    kinds = ("free",) if budget.per == "layer" else ("free", "coupled")
    own: dict[str, list[Any]] = {}
    for row in frame[frame["kind"].isin(kinds) & frame["ratio"].notna()].itertuples():
        own.setdefault(str(row.layer), []).append(row)
    pins = fixed(anatomy, budget)
    for unit, ratio in pins.items():
        if ratio and unit not in own:
            raise EvidenceError(
                f"Expected a curve of {unit}, which is to have rate {ratio:g}, but {study.path} "
                "has none: sweep it (--units all for a coupled unit), or drop the rate."
            )
    widest = max((anatomy.unit[name].channels for name in own), default=0)
    if own and widest < budget.align:
        raise LesionError(
            f"Expected channels aligned to {widest} or fewer, the most that a unit here has, got "
            f"{budget.align}."
        )
    return {
        name: _of_unit(study, anatomy.unit[name], rows, budget, pins.get(name))
        for name, rows in own.items()
    }


def _of_unit(
    study: Study, unit: Unit, rows: Sequence[Any], budget: Budget, pin: float | None
) -> tuple[Candidate, ...]:
    """The choices of one unit, whatever seeds and roundings were measured: the worst counts."""
    first = rows[0]
    scores = study.scores(unit.name, unit.kind, first.criterion, int(first.seed))
    assert scores is not None
    points = list(_points(rows))
    none = Candidate(0.0, np.zeros(unit.channels, bool))
    if pin == 0:
        return (replace(none, reason="stays whole, as asked"),)
    known = sorted({row.ratio for row in rows if row.ratio <= budget.max_rate})
    ratios = known if pin is None else [pin]
    found = []
    for ratio in ratios:
        fallen = aligned(study.anatomy, unit, scores, ratio, first.rounding, budget)
        above = [point for point in points if point[0] >= fallen.sum()]
        if fallen.any() and above:
            _, measured, drop, high = above[0]
            reason = "" if pin is None else "the rate that was asked for"
            found.append(Candidate(ratio, fallen, drop, high, measured, reason))
    if pin is None:
        return (none, *found)
    if not found:
        raise EvidenceError(
            f"Expected a curve of {unit.name} that reaches rate {pin:g} (channels a multiple of "
            f"{budget.align}, {budget.least} at least), but {study.path} has none: measure that "
            "ratio, or give another rate."
        )
    return tuple(found)


def _points(rows: Sequence[Any]) -> list[tuple[int, float, float, float]]:
    """(pruned, ratio, drop, high) of what was measured, fewest pruned first, the worst of each."""
    worst: dict[int, tuple[int, float, float, float]] = {}
    for row in rows:
        if row.reason == "":
            high = row.drop if isnan(row.high) else row.high
            point = (int(row.pruned), row.ratio, row.drop, high)
            worst[point[0]] = max(worst.get(point[0], point), point, key=lambda one: one[3])
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
        unit = anatomy.unit[name]
        gone[unit.first : unit.first + unit.channels] = candidate.fallen
    return gone
