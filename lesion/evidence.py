"""What a study says of one layer or unit at each ratio: safe, sensitive or undecided."""

from dataclasses import dataclass
from functools import cached_property
from math import isnan

from lesion.wording import UNMEASURED, grouped, percent, rounded, signed

SAFE, SENSITIVE, UNDECIDED = "safe", "sensitive", "undecided"
HOPELESS = 1e7  # images: more than that are not worth naming


@dataclass(frozen=True)
class Tolerance:
    """How many points may be lost, and how many images the study could measure."""

    max_drop: float
    most: int


@dataclass(frozen=True)
class Cell:
    """One ratio of one target: how many channels fall, and the drop with its interval in points.

    verdict: "safe", "sensitive" or "undecided"; images: how many were seen; left: how many more a
    verdict would likely take; reason: "" or why there are no numbers
    """

    ratio: float
    pruned: int
    channels: int
    drop: float
    low: float
    high: float
    verdict: str
    images: int
    left: float
    reason: str

    @property
    def failed(self) -> bool:
        """Whether it cannot be measured."""
        return self.reason not in ("", UNMEASURED)

    def words(self, tolerance: Tolerance, noun: str) -> str:
        """The cell as half a sentence: what share costs how much, and what is open."""
        share = f"{percent(self.ratio)} of its {noun}"
        if self.reason:
            return f"{share}: {self.reason}"
        text = f"{share} cost {self.points(tolerance)}"
        return text if self.verdict != UNDECIDED else f"{text}, {self.doubt(tolerance)}"

    def doubt(self, tolerance: Tolerance) -> str:
        """Why an undecided cell is so, and about how many images more would settle it."""
        text = f"not settled by {grouped(self.images)} images"
        if self.images >= tolerance.most:
            return text
        if self.left > tolerance.most - self.images:
            return f"{text}, nor likely by all {grouped(tolerance.most)} of the study"
        return f"{text}, about {grouped(rounded(int(self.left) + 1))} more would"

    def points(self, tolerance: Tolerance) -> str:
        """Drop and interval, if there is one, with as many decimals as show on which side of the
        tolerance."""
        if isnan(self.low):  # one evaluation, in a unit of its own
            return f"{self.drop:.4g}".replace("-", "−")
        ends = (self.drop, self.low, self.high)
        for digits in (1, 2, 3):
            shown = (round(end, digits) for end in ends)
            if [end <= tolerance.max_drop for end in shown] == [
                end <= tolerance.max_drop for end in ends
            ]:
                break
        return f"{signed(self.drop, digits)} points " + (
            f"[{signed(self.low, digits)}, {signed(self.high, digits)}]"
        )


@dataclass(frozen=True)
class Evidence:
    """One target's cells in order of ratio, judged by one tolerance."""

    target: str
    kind: str
    cells: tuple[Cell, ...]
    tolerance: Tolerance

    @cached_property
    def top(self) -> Cell | None:
        """The largest safe ratio below the first that is sensitive or cannot be measured.

        Ratios below it that were not looked at, because a larger one is safe, are no hindrance.
        """
        stops = (
            at for at, cell in enumerate(self.cells) if cell.verdict == SENSITIVE or cell.failed
        )
        ends = next(stops, len(self.cells))
        safe = [cell for cell in self.cells[:ends] if cell.verdict == SAFE]
        return safe[-1] if safe else None

    @property
    def rate(self) -> float:
        """The largest safe ratio, 0 if there is none."""
        return self.top.ratio if self.top else 0.0

    @property
    def limit(self) -> Cell | None:
        """The first cell above the rate that speaks against it: sensitive, or looked at in vain."""
        above = [cell for cell in self.cells if cell.ratio > self.rate]
        looked = [cell for cell in above if cell.verdict == SENSITIVE or cell.images or cell.failed]
        return next(iter(looked or above), None)

    @property
    def status(self) -> str:
        """Safe at some ratio, sensitive at the lowest that was looked at, or undecided."""
        if self.top:
            return SAFE
        return SENSITIVE if self.limit and self.limit.verdict == SENSITIVE else UNDECIDED

    def removed(self, ratio: float) -> tuple[int, int]:
        """How many of how many channels fall at the largest planned ratio up to `ratio`."""
        below = [cell for cell in self.cells if cell.ratio <= ratio]
        return (below[-1].pruned, below[-1].channels) if below else (0, 1)

    def safe_words(self) -> str:
        """Up to where it is safe, or nothing."""
        if not self.top:
            return ""
        return f"safe up to {percent(self.top.ratio)} ({self.top.points(self.tolerance)})"

    def stop_words(self, noun: str, ratio: float = 0) -> str:
        """What speaks against `ratio`: the first sensitive cell up to it, else the limit."""
        below = (cell for cell in self.cells if cell.ratio <= ratio)
        cell = next((cell for cell in below if cell.verdict == SENSITIVE), self.limit)
        return cell.words(self.tolerance, noun) if cell else ""
