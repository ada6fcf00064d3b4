"""What a search for rates can set: the rate of a unit, or the one that a stage shares."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from lesion.rates.candidates import Candidates
from lesion.rates.costs import Account
from lesion.rates.milp import SLACK, Bound

Choice = dict[str, int]
State = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Knobs:
    """Knobs with their settings, and what they may cost together.

    candidates: the choices of each unit
    settings: of each knob, fewest channels lost first: what its units take
    bounds: costs that may not be larger than so much; least: the cost to be least, if one is
    """

    candidates: Candidates
    settings: tuple[tuple[Choice, ...], ...]
    bounds: tuple[Bound, ...] = ()
    least: Account | None = None

    @classmethod
    def of(
        cls,
        candidates: Candidates,
        shared: Sequence[Sequence[str]] = (),
        bounds: Sequence[Bound] = (),
        least: Account | None = None,
        still: Set[str] = frozenset(),
    ) -> "Knobs":
        """shared: units that share a rate, each group a knob; every other unit has its own.

        still: units that keep their first choice
        """
        grouped = {unit for group in shared for unit in group}
        groups = [*shared, *([unit] for unit in candidates if unit not in grouped)]
        knobs = [_settings(candidates, group) for group in groups]
        knobs = [knob[:1] if still >= knob[0].keys() else knob for knob in knobs]
        return cls(candidates, tuple(knobs), tuple(bounds), least)

    def choice(self, state: State) -> Choice:
        """What each unit takes."""
        choice: Choice = {}
        for knob, setting in zip(self.settings, state, strict=True):
            choice |= knob[setting]
        return choice

    def state(self, choice: Mapping[str, int]) -> State:
        """The first setting of each knob in which no unit loses less than by a choice."""

        def enough(setting: Choice) -> bool:
            return all(self._order(u, at) >= self._order(u, choice[u]) for u, at in setting.items())

        return tuple(
            next(place for place, setting in enumerate(knob) if enough(setting))
            for knob in self.settings
        )

    def _order(self, unit: str, at: int) -> int:
        return self.candidates[unit][at].order

    def excess(self, state: State) -> float:
        """By how much the bounds are passed, as shares of the intact costs; what is to be least
        passes 0."""
        choice = self.choice(state)
        over = sum(
            max(0.0, bound.account.at(choice) - bound.most - SLACK) / bound.account.intact
            for bound in self.bounds
        )
        return over + (self.least.at(choice) / self.least.intact if self.least else 0.0)

    def costs(self, state: State) -> list[np.ndarray]:
        """For each knob (settings, costs): what its settings cost where the others stay.

        The costs of all bounds, then that which is to be least, each less its bound, as a share
        of the intact one.  Exact for knobs of one unit.
        """
        choice = self.choice(state)
        bounds = [(bound.account, bound.most + SLACK) for bound in self.bounds]
        if self.least:
            bounds.append((self.least, 0.0))
        columns = [self._costs(account, most, choice) for account, most in bounds]
        return [
            np.stack([column[knob] for column in columns], 1) for knob in range(len(self.settings))
        ]

    def _costs(self, account: Account, most: float, choice: Choice) -> list[np.ndarray]:
        """For each knob (settings,): what they cost beyond a bound, as a share."""
        sizes = {unit: len(choices) for unit, choices in self.candidates.items()}
        each, now = account.each(choice, sizes), account.at(choice)

        def cost(setting: Choice) -> float:
            moved = sum(each[unit][at] - now for unit, at in setting.items())
            return float((now + moved - most) / account.intact)

        return [np.array([cost(setting) for setting in knob]) for knob in self.settings]


def _settings(candidates: Candidates, group: Sequence[str]) -> tuple[Choice, ...]:
    """A unit's choices that differ in what falls; for a group each rate that one of it has.

    A unit of a group that lacks the rate stays whole; one that is pinned keeps its own.
    """
    if len(group) == 1:
        (unit,) = group
        order = [choice.order for choice in candidates[unit]]
        fresh = [0, *(at for at in range(1, len(order)) if order[at] > order[at - 1])]
        return tuple({unit: place} for place in fresh)
    pinned = {unit for unit in group if len(candidates[unit]) == 1}
    rates = {choice.asked for unit in group for choice in candidates[unit] if choice.pruned}
    asked = {candidates[unit][0].asked for unit in pinned if candidates[unit][0].pruned}
    rates &= asked or rates
    places = {
        unit: {choice.asked: at for at, choice in enumerate(candidates[unit])} for unit in group
    }
    return tuple(
        {unit: 0 if unit in pinned else places[unit].get(rate, 0) for unit in group}
        for rate in (0.0, *sorted(rates))
    )
