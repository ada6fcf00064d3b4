"""What a study says of one layer or unit at each ratio: safe, sensitive or undecided."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import isnan

from lesion.lesions.amounts import Amounts
from lesion.lesions.lesion import Lesion
from lesion.results.drops import Drop
from lesion.results.reading import Reading
from lesion.study.decisions import Decision
from lesion.words import UNMEASURED, grouped, rounded, signed

SAFE, SENSITIVE, UNDECIDED = "safe", "sensitive", "undecided"
HOPELESS = 1e7  # images: more than that are not worth naming


@dataclass(frozen=True)
class Tolerance:
    """How many points may be lost, and how many images the study could measure."""

    max_drop: float
    most: int


@dataclass(frozen=True)
class Cell:
    """A lesion of one target: what it costs, and what is certain of that."""

    lesion: Lesion
    cost: Drop
    decision: Decision | None = None

    @property
    def amount(self) -> float:
        """How much damage it does."""
        return self.lesion.amount

    @property
    def verdict(self) -> str:
        """ "safe", "sensitive" or "undecided"."""
        return self.decision.verdict if self.decision else UNDECIDED

    @property
    def left(self) -> float:
        """How many images more a verdict would likely take."""
        return self.decision.left if self.decision else float("inf")

    @property
    def failed(self) -> bool:
        """Whether it cannot be measured."""
        return self.cost.reason not in ("", UNMEASURED)

    @property
    def stops(self) -> bool:
        """Whether nothing that hurts more can be called safe."""
        return self.verdict == SENSITIVE or self.failed

    @property
    def badness(self) -> tuple[int, float]:
        """What the worst of several lesions of one amount has most of."""
        place = (SAFE, UNDECIDED, SENSITIVE).index(self.verdict)
        return place, -1 if self.cost.reason else self.cost.drop

    def words(self, tolerance: Tolerance, phrase: str) -> str:
        """The cell as half a sentence: how much costs how much, and what is open."""
        if self.cost.reason:
            return f"{phrase}: {self.cost.reason}"
        text = f"{phrase} cost {self.points(tolerance)}"
        return text if self.verdict != UNDECIDED else f"{text}, {self.doubt(tolerance)}"

    def doubt(self, tolerance: Tolerance) -> str:
        """Why an undecided cell is so, and about how many images more would settle it."""
        text = f"not settled by {grouped(self.cost.images)} images"
        if self.cost.images >= tolerance.most:
            return text
        if self.left > tolerance.most - self.cost.images:
            return f"{text}, nor likely by all {grouped(tolerance.most)} of the study"
        return f"{text}, about {grouped(rounded(int(self.left) + 1))} more would"

    def points(self, tolerance: Tolerance) -> str:
        """Drop and interval, if there is one, with as many decimals as show on which side of the
        tolerance."""
        drop, low, high = self.cost.drop, self.cost.low, self.cost.high
        if isnan(low) or self.cost.interval == "bootstrap":  # an evaluation, in a unit of its own
            ends = "" if isnan(low) else f" [{low:.4g}, {high:.4g}]"
            return f"{drop:.4g}{ends}".replace("-", "−")
        for digits in (1, 2, 3):
            shown = (round(end, digits) for end in (drop, low, high))
            if [end <= tolerance.max_drop for end in shown] == [
                end <= tolerance.max_drop for end in (drop, low, high)
            ]:
                break
        return f"{signed(drop, digits)} points [{signed(low, digits)}, {signed(high, digits)}]"


@dataclass(frozen=True)
class Evidence:
    """One target's cells in order of harm, judged by one tolerance."""

    target: str
    kind: str
    cells: tuple[Cell, ...]
    tolerance: Tolerance
    amounts: Amounts

    @cached_property
    def top(self) -> Cell | None:
        """The most harmful safe amount before the first that is sensitive or cannot be measured.

        Amounts before it that were not looked at, because a worse one is safe, are no hindrance.
        """
        ends = next((at for at, cell in enumerate(self.cells) if cell.stops), len(self.cells))
        safe = [cell for cell in self.cells[:ends] if cell.verdict == SAFE]
        return safe[-1] if safe else None

    @property
    def rate(self) -> float:
        """The most harmful safe amount, 0 if there is none."""
        return self.top.amount if self.top else 0.0

    @property
    def limit(self) -> Cell | None:
        """The first cell beyond the safe ones that speaks against it: sensitive, or looked at in
        vain."""
        beyond = self.cells[self.cells.index(self.top) + 1 :] if self.top else self.cells
        looked = [
            cell for cell in beyond if cell.verdict == SENSITIVE or cell.cost.images or cell.failed
        ]
        return next(iter(looked or beyond), None)

    @property
    def status(self) -> str:
        """Safe at some amount, sensitive at the least that was looked at, or undecided."""
        if self.top:
            return SAFE
        return SENSITIVE if self.limit and self.limit.verdict == SENSITIVE else UNDECIDED

    @property
    def cited(self) -> Iterator[Cell]:
        """The cells whose drops are told."""
        first = next((cell for cell in self.cells if cell.verdict == SENSITIVE), None)
        yield from (cell for cell in (self.top, self.limit, first) if cell)

    def costing(self, drops: Mapping[Lesion, Drop]) -> "Evidence":
        """The same, of lesions whose drops are known."""
        cells = (
            replace(cell, cost=drops[cell.lesion]) if cell.lesion in drops else cell
            for cell in self.cells
        )
        return replace(self, cells=tuple(cells))

    def removed(self, ratio: float) -> tuple[int, int]:
        """How many of how many channels fall at the largest planned ratio up to `ratio`."""
        below = [cell.lesion for cell in self._up_to(ratio)]
        return (below[-1].pruned, below[-1].channels) if below else (0, 1)

    def safe_words(self) -> str:
        """Up to where it is safe, or nothing."""
        if not self.top:
            return ""
        most = f"{self.amounts.up_to} {self.amounts.text(self.top.amount)}"
        return f"safe {most} ({self.top.points(self.tolerance)})"

    def stop_words(self, noun: str, ratio: float | None = None) -> str:
        """What speaks against an amount: the first sensitive cell up to it, else the limit."""
        below = () if ratio is None else self._up_to(ratio)
        cell = next((cell for cell in below if cell.verdict == SENSITIVE), self.limit)
        return cell.words(self.tolerance, self.amounts.phrase(cell.amount, noun)) if cell else ""

    def _up_to(self, amount: float) -> list[Cell]:
        most = self.amounts.severity(amount)
        return [cell for cell in self.cells if self.amounts.severity(cell.amount) <= most]


def gathered(reading: Reading) -> list[Evidence]:
    """One entry a target and kind; of several lesions of one amount the worst.

    Of lesions that stopped early only those that are told have a drop.
    """
    several = Counter(map(_place, reading.counted))
    rivals = [lesion for lesion in reading.counted if several[_place(lesion)] > 1]
    evidence = _judged(reading, reading.counted | reading.drops_of(rivals))
    drops = reading.drops_of(cell.lesion for target in evidence for cell in target.cited)
    return [target.costing(drops) for target in evidence]


def _place(lesion: Lesion) -> tuple[str, str, float]:
    return lesion.target, lesion.kind, lesion.amount


def _judged(reading: Reading, drops: Mapping[Lesion, Drop]) -> list[Evidence]:
    targets: dict[tuple[str, str], dict[float, Cell]] = {}
    verdicts = reading.verdicts
    for lesion, drop in drops.items():
        cells = targets.setdefault((lesion.target, lesion.kind), {})
        cell = Cell(lesion, drop, verdicts.get(lesion))
        known = cells.get(lesion.amount, cell)
        cells[lesion.amount] = max(known, cell, key=lambda some: some.badness)
    tolerance = Tolerance(reading.aim.max_drop, len(reading.study.header.order))
    amounts = reading.amounts
    return [
        Evidence(
            target,
            kind,
            tuple(cells[amount] for amount in amounts.sort(list(cells))),
            tolerance,
            amounts,
        )
        for (target, kind), cells in targets.items()
    ]
