"""Cells that look at images step by step, and what becomes of them: the part all orders share."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lesion.errors import LesionError
from lesion.sequential.question import Array, Forecast, Question, Verdict


class Look(NamedTuple):
    """What one update left behind: rows are the cells updated.

    seen: images so far; log_e: running maxima; new: images added; trail: for each new image what
    the process needs to bet against other drops, in tables as wide as the longest row
    """

    cells: Array
    seen: Array
    log_e: Array
    new: Array
    trail: tuple[Array, ...]


class Process:
    """Cells that look at images step by step, each by its own past alone.

    seen: (cells,) images so far; total: (cells,) ΣD over them; log_e: (cells, 2) running maxima of
    the log e-values against "not SAFE" and "not SENSITIVE", inf where it is certain; wealth: the
    same now.  Steps have 50 images at first and a sixteenth of those seen later on.

    shares: what part of its money each bet against a drop has; tables: how many a trail has
    """

    shares: Array
    tables: int

    def __init__(self, question: Question, cells: int, least: int = 50, record: bool = True):
        self.question, self.cells, self._least, self._record = question, cells, least, record
        self.seen = np.zeros(cells, int)
        self.total = np.zeros(cells)
        self.wealth = np.zeros((cells, 2))
        self.log_e = np.zeros((cells, 2))
        self._looks: list[Look] = []
        self._crossed: dict[bytes, tuple[int, Array, Array]] = {}  # looks known, floors, first n

    def choose(self, cells: Sequence[int] | Array) -> list[Array]:
        """For each cell the positions it looks at next, in order; empty where all are seen.

        The same again until the cell is updated.
        """
        cells = np.asarray(cells, int)
        chosen = [np.zeros(0, int)] * len(cells)
        open_ = np.flatnonzero(self.seen[cells] < self.question.images)
        if len(open_):
            positions, count = self._plan(cells[open_])
            for place, row, n in zip(open_, positions, count, strict=True):
                chosen[place] = row[:n].copy()
        return chosen

    def update(self, cells: Sequence[int] | Array, scores: Sequence[Array]) -> None:
        """Take in the lesioned scores at the positions that `choose` names, cell by cell.

        Raises LesionError where they are not as many, or outside [0, 1].
        """
        every, rows = np.asarray(cells, int), [np.asarray(row, float) for row in scores]
        open_ = self.seen[every] < self.question.images
        self._check(every, rows, open_)
        left, rows = (
            every[open_],
            [row for row, is_open in zip(rows, open_, strict=True) if is_open],
        )
        if not len(left):
            return
        positions, count = self._plan(left)
        table = np.zeros(positions.shape)
        for cell, values, n, line in zip(left, rows, count, table, strict=True):
            if len(values) != n:
                raise LesionError(f"Expected {n} scores for cell {cell}, got {len(values)}.")
            line[:n] = values
        self.take(left, table)

    def _check(self, cells: Array, scores: list[Array], open_: Array) -> None:
        if len(scores) != len(cells) or len(np.unique(cells)) != len(cells):
            raise LesionError("Expected scores for each cell once: name every cell once.")
        for cell, row, is_open in zip(cells, scores, open_, strict=True):
            fine = np.isin(row, (0, 1)) if self.question.hits else (row >= 0) & (row <= 1)
            if not fine.all():
                scale = "0 or 1" if self.question.hits else "between 0 and 1"
                raise LesionError(f"Expected scores {scale} for cell {cell}, got {row[~fine][0]}.")
            if not is_open and len(row):
                raise LesionError(f"Expected no scores for cell {cell}: it has seen every image.")

    def take(self, cells: Array, table: Array) -> None:
        """`update` for a table of scores padded to the longest row; the padding is not read."""
        positions, count = self._plan(cells)
        real = np.arange(positions.shape[1]) < count[:, None]
        drops = np.where(real, self.question.base[positions] - table, 0.0)
        peak, trail = self._learn(cells, drops, real)
        self.seen[cells] += count
        self.total[cells] += cumulative(drops)[:, -1]
        self.log_e[cells] = np.maximum(self.log_e[cells], peak)
        if self.question.estimand == "set":
            self._close(cells)
        trail = trail if self._record else ()
        self._looks.append(Look(cells, self.seen[cells], self.log_e[cells], count, trail))

    def follow(self, cells: Array, scores: Array) -> Array:
        """Update the cells whose next images all have scores, (cells, N) with NaN for none; which.

        `cells` have images left.
        """
        positions, count = self._plan(cells)
        table = scores[cells[:, None], positions]
        real = np.arange(positions.shape[1]) < count[:, None]
        known = ~(np.isnan(table) & real).any(1)
        if known.any():
            self.take(cells[known], table[known, : count[known].max()])
        return np.asarray(known)

    def trails(self, cells: Array) -> list[Array]:
        """For each cell (tables, images): the trail of all its looks."""
        none = np.zeros((self.tables, 0))
        parts: dict[int, list[Array]] = {int(cell): [none] for cell in cells}
        for look in self._looks:
            if not look.trail:
                raise LesionError("Expected a process with record=True to give intervals.")
            for row, (cell, n) in enumerate(zip(look.cells, look.new, strict=True)):
                if int(cell) in parts:
                    parts[int(cell)].append(np.stack([part[row, :n] for part in look.trail]))
        return [np.concatenate(parts[int(cell)], axis=1) for cell in cells]

    def _close(self, cells: Array) -> None:
        """What is left cannot turn the answer any more."""
        up, down = self.rest(cells)
        safe = self.total[cells] + up <= self.question.limit
        sensitive = self.total[cells] - down > self.question.limit
        self.log_e[cells] = np.where(np.stack([safe, sensitive], 1), np.inf, self.log_e[cells])

    def size(self, cells: Array) -> Array:
        """How many images the next step has."""
        wanted = np.maximum(self._least, self.seen[cells] // 16)
        return np.asarray(np.minimum(wanted, self.question.images - self.seen[cells]))

    def decided_at(self, alpha: float | Array) -> Array:
        """(cells, 2) images at the look that first supported SAFE, and SENSITIVE; -1 for never.

        SAFE counts from `floor` images on.
        """
        levels = self.levels(alpha)
        key = levels.tobytes()
        if key not in self._crossed:
            self._crossed[key] = 0, self._floors(levels), np.full((self.cells, 2), -1)
        known, least, at = self._crossed[key]
        for look in self._looks[known:]:
            crossed = look.log_e >= -np.log(levels[look.cells])[:, None]
            crossed[:, 0] &= look.seen >= least[look.cells]
            new = crossed & (at[look.cells] < 0)
            at[look.cells] = np.where(new, look.seen[:, None], at[look.cells])
        self._crossed[key] = len(self._looks), least, at
        return at.copy()

    def levels(self, alpha: float | Array) -> Array:
        """(cells,) the error that each cell may make. Raises LesionError for another shape."""
        levels = np.asarray(alpha, float)
        if levels.shape not in ((), (self.cells,)):
            raise LesionError(
                f"Expected one alpha, or one for each of {self.cells} cells, "
                f"got an array of shape {levels.shape}."
            )
        return np.broadcast_to(levels, self.cells)

    def _floors(self, levels: Array) -> Array:
        """(cells,) from how many images on SAFE counts; more than there are where it never does."""
        unique, place = np.unique(levels, return_inverse=True)
        floors = [self.floor(float(level)) for level in unique]
        never = self.question.images + 1
        return np.array([never if floor is None else floor for floor in floors], int)[place]

    def verdicts(self, alpha: float | Array) -> list[Verdict]:
        """Each cell's verdict, wrong with probability at most `alpha`, however often asked.

        alpha: one for all cells, or one for each
        The side that first reaches 1 / alpha wins, unless the other is certain.
        """
        at = self.decided_at(alpha)
        certain = np.isinf(self.log_e) & (at >= 0)
        at = np.where(at < 0, np.iinfo(int).max, np.where(certain, -1, at))
        tie = self.log_e[:, 0] >= self.log_e[:, 1]
        safe = (at[:, 0] < at[:, 1]) | ((at[:, 0] == at[:, 1]) & tie)
        decided = at.min(1) < np.iinfo(int).max
        names = np.where(decided, np.where(safe, 0, 1), 2)
        return list(np.array(tuple(Verdict), object)[names])

    def floor(self, alpha: float) -> int | None:
        """No SAFE comes from fewer images than this; None where all would not do."""
        raise NotImplementedError

    def against(self, trail: Array, theta: Array, side: int) -> Array:
        """(cells, bets, images) what images would have multiplied bets against θ by.

        Side 0 is against "drop ≥ θ", where each bet's wealth rises with θ; 1 against "drop ≤ θ".
        """
        raise NotImplementedError

    def forecast(self, cells: Array, alpha: float | Array) -> Forecast:
        """Where each cell is heading; steers only."""
        raise NotImplementedError

    def _plan(self, cells: Array) -> tuple[Array, Array]:
        """Next positions, padded to the longest row, and how many are meant; `cells` are open."""
        raise NotImplementedError

    def _learn(self, cells: Array, drops: Array, real: Array) -> tuple[Array, tuple[Array, ...]]:
        """Bet on the drops: sets `wealth`, gives its peaks and the trail."""
        raise NotImplementedError

    def rest(self, cells: Array) -> tuple[Array, Array]:
        """How much the images not yet seen can add to ΣD, and how much they can take."""
        raise NotImplementedError


def cumulative(values: Array) -> Array:
    """Running sums along the rows; added in order, so that padding a row changes nothing."""
    return np.cumsum(values, axis=1)


def before(values: Array) -> Array:
    """Running sums of what came before each entry."""
    out = np.zeros(values.shape)
    np.cumsum(values[:, :-1], axis=1, out=out[:, 1:])
    return out
