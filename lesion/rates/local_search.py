"""Rates within a budget by what is predicted of them together: down to the budget, then exchanges.

A joint score is no sum over units, so no linear programme gives its best.  Down: of all settings
of one knob the one that loses least for what it saves, until the bounds are met; where a cost is to
be least, as far as the predicted drop may go.  Exchanges: one knob eased and another set further,
or one alone, where that loses less and costs no more, until none does.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from lesion.rates.knobs import Knobs, State
from lesion.rates.margins import Shifts

EPS = 1e-9
TRIED = 50  # exchanges that look best, at each step; costs of two moves together are not their sum


@dataclass(frozen=True)
class Search:
    """Where one may go from a state.

    most: the largest predicted drop in points, by its upper end
    reach: how many settings a knob may move from the state of the shifts, None for any
    known: states that are passed by
    """

    knobs: Knobs
    shifts: Shifts
    most: float = np.inf
    reach: int | None = None
    known: Collection[State] = ()

    def best(self, state: State) -> State | None:
        """Where the search from a state ends, None where the bounds are not met there."""
        state = self._down(state)
        while (better := self._exchanged(state)) is not None:
            state = self._down(better)
        met = self.knobs.least is not None or self.knobs.excess(state) <= EPS
        return state if met and self._high(state) <= self.most + EPS else None

    def rank(self, state: State) -> tuple[float, float]:
        """Less for better states: by the cost that is to be least, then by what they lose."""
        least = self.knobs.excess(state) if self.knobs.least else 0.0
        return least, float(self.shifts.lost(self.shifts.values(state)))

    def _high(self, state: State) -> float:
        return self.shifts.high(self.shifts.values(state))

    def _down(self, state: State) -> State:
        """Steps of the least loss for what they save."""
        while self.knobs.excess(state) > EPS:
            step = next(self._steps(state), None)
            if step is None:
                break
            state = step
        return state

    def _steps(self, state: State) -> Iterator[State]:
        """The states that one knob leads to and that pass the bounds by less, the best first."""
        moves, now = _Moves(self, state), self.knobs.excess(state)
        saved = now - moves.over.clip(0).sum(1)
        useful = np.flatnonzero(saved > EPS)
        price = moves.lost[useful] / saved[useful]
        for at in useful[np.argsort(price, kind="stable")]:
            there = moves.state(int(at))
            within = self.knobs.least is None or self._high(there) <= self.most
            if within and self.knobs.excess(there) < now - EPS:
                yield there

    def _exchanged(self, state: State) -> State | None:
        """The best exchange that loses less, None where there is none."""
        moves, limit = _Moves(self, state), self.knobs.excess(state)
        ranked = sorted(moves.exchanges(limit), key=lambda exchange: exchange[0])
        for _, there in ranked[:TRIED]:
            if there not in self.known and self.knobs.excess(there) <= limit + EPS:
                return there
        return None


class _Moves:
    """All moves of one knob from a state, a row each.

    over: (moves, costs) what passes each bound, less than 0 where it is met
    lost: the share of the score that is lost in addition
    """

    def __init__(self, search: Search, state: State) -> None:
        shifts, costs = search.shifts, search.knobs.costs(state)
        self.search, self.from_state = search, state
        self.here, self.now = shifts.values(state), costs[0][state[0]]
        places = [
            (knob, setting)
            for knob, at in enumerate(state)
            for setting in self._open(knob)
            if setting != at
        ]
        self.knob, self.setting = np.array(places, int).reshape(-1, 2).T
        self.before = np.array(state)[self.knob]
        self.over = np.empty((len(places), len(self.now)))
        self.values = np.empty((len(places), len(self.here)), self.here.dtype)
        for row, (knob, setting) in enumerate(places):
            moves = shifts.moves[knob]
            self.over[row] = costs[knob][setting]
            self.values[row] = self.here + (moves[setting] - moves[state[knob]])
        self.lost = shifts.lost(self.values) - shifts.lost(self.here)

    def _open(self, knob: int) -> range:
        size, reach = len(self.search.knobs.settings[knob]), self.search.reach
        if reach is None:
            return range(size)
        middle = self.search.shifts.state[knob]
        return range(max(0, middle - reach), min(size, middle + reach + 1))

    def state(self, *rows: int) -> State:
        """The state that these moves lead to."""
        state = list(self.from_state)
        for row in rows:
            state[self.knob[row]] = int(self.setting[row])
        return tuple(state)

    def exchanges(self, limit: float) -> Iterator[tuple[float, State]]:
        """Moves of one or two knobs that lose less and cost no more, about, with what they lose."""
        for row in np.flatnonzero((self.lost < -EPS) & self._fit(self.over, limit)):
            yield float(self.lost[row]), self.state(int(row))
        for row in np.flatnonzero(self.setting < self.before):
            together = self.over + (self.over[row] - self.now)
            further = (self.knob != self.knob[row]) & (self.setting > self.before)
            some = self._nearest(further & self._fit(together, limit))
            values = self.values[some] + (self.values[row] - self.here)
            lost = self.search.shifts.lost(values) - self.search.shifts.lost(self.here)
            for other in np.flatnonzero(lost < -EPS):
                yield float(lost[other]), self.state(int(row), int(some[other]))

    def _fit(self, over: np.ndarray, limit: float) -> np.ndarray:
        fit: np.ndarray = over.clip(0).sum(1) <= limit + EPS
        return fit

    def _nearest(self, fit: np.ndarray) -> np.ndarray:
        """Of each knob the first setting among these."""
        rows = np.flatnonzero(fit)
        return rows[np.unique(self.knob[rows], return_index=True)[1]]
