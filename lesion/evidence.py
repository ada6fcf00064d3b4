"""What a study says of one layer or unit at each ratio: safe, failing or undecided."""

from dataclasses import dataclass
from functools import cached_property

from lesion.intervals import images_needed
from lesion.wording import grouped, percent, rounded, signed

SAFE, FAILING, UNDECIDED = "safe", "failing", "undecided"


@dataclass(frozen=True)
class Tolerance:
    """How many points may be lost, and with how much confidence (a proportion) that is to hold.

    most: how many images the study could measure
    """

    max_drop: float
    confidence: float
    most: int


@dataclass(frozen=True)
class Cell:
    """One ratio of one target: how many channels fall, and the drop with its interval in points.

    counts: images right in both networks, broken, repaired, wrong in both; reason: "" or why
    there are no numbers
    """

    ratio: float
    pruned: int
    channels: int
    drop: float
    low: float
    high: float
    counts: tuple[int, int, int, int]
    reason: str

    def verdict(self, tolerance: Tolerance) -> str:
        """Safe: the interval ends at or below the tolerance; failing: it begins above it."""
        if self.high <= tolerance.max_drop:
            return SAFE
        return FAILING if self.low > tolerance.max_drop else UNDECIDED

    def needed(self, tolerance: Tolerance, most: int) -> int | None:
        """About how many images would decide, None where `most` would not."""
        if not sum(self.counts):
            return None
        return images_needed(self.counts, tolerance.max_drop / 100, tolerance.confidence, most)

    def words(self, tolerance: Tolerance, noun: str) -> str:
        """The cell as half a sentence: what share costs how much, and what is open."""
        share = f"{percent(self.ratio)} of its {noun}"
        if self.reason:
            return f"{share}: {self.reason}"
        text = f"{share} cost {self.points(tolerance)}"
        if self.verdict(tolerance) != UNDECIDED:
            return text
        return f"{text}, {self.doubt(tolerance)}"

    def doubt(self, tolerance: Tolerance) -> str:
        """Why an undecided cell is so, and about how many images would settle it."""
        text = f"not settled by {grouped(sum(self.counts))} images"
        if sum(self.counts) >= tolerance.most:
            return text
        needed = self.needed(tolerance, tolerance.most)
        if needed is None:
            return f"{text}, nor likely by all {grouped(tolerance.most)} of the study"
        return f"{text}, about {grouped(rounded(needed))} would"

    def points(self, tolerance: Tolerance) -> str:
        """Drop and interval, with as many decimals as it takes to show on which side it lies."""
        for digits in (1, 2, 3):
            shown = Cell(
                self.ratio, self.pruned, self.channels, self.drop,
                round(self.low, digits), round(self.high, digits), self.counts, "",
            )  # fmt: skip
            if shown.verdict(tolerance) == self.verdict(tolerance):
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
    def chain(self) -> tuple[Cell, ...]:
        """The cells before the first that is not safe: a lucky one beyond it counts for nothing."""
        verdicts = [cell.verdict(self.tolerance) for cell in self.cells]
        ends = next((i for i, verdict in enumerate(verdicts) if verdict != SAFE), len(verdicts))
        return self.cells[:ends]

    @property
    def rate(self) -> float:
        """The largest safe ratio, 0 if there is none."""
        return self.chain[-1].ratio if self.chain else 0.0

    @property
    def limit(self) -> Cell | None:
        """The first cell that is not safe."""
        return self.cells[len(self.chain)] if len(self.chain) < len(self.cells) else None

    def removed(self, ratio: float) -> tuple[int, int]:
        """How many of how many channels fall at the largest measured ratio up to `ratio`."""
        below = [cell for cell in self.cells if cell.ratio <= ratio]
        return (below[-1].pruned, below[-1].channels) if below else (0, 1)

    def safe_words(self) -> str:
        """Up to where it is safe, or nothing."""
        if not self.chain:
            return ""
        top = self.chain[-1]
        return f"safe up to {percent(top.ratio)} ({top.points(self.tolerance)})"

    def stop_words(self, noun: str, ratio: float = 0) -> str:
        """What speaks against `ratio`: the first cell up to it that fails, else the limit."""
        below = (cell for cell in self.cells if cell.ratio <= ratio)
        failing = (cell for cell in below if cell.verdict(self.tolerance) == FAILING)
        cell = next(failing, self.limit)
        return cell.words(self.tolerance, noun) if cell else ""
