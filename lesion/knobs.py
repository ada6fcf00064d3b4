"""What a search for rates can set: the rate of a unit, or the one that a stage shares."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from lesion.accounting import Account
from lesion.candidates import Candidates
from lesion.solving import SLACK, Bound

Choice = dict[str, int]
State = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Knobs:
    """Knobs with their settings, and what they may cost together.

    found: the choices of each unit
    settings: of each knob, fewest channels lost first: what its units take
    bounds: costs that may not be larger than so much; least: the cost to be least, if one is
    """

    found: Candidates
    settings: tuple[tuple[Choice, ...], ...]
    bounds: tuple[Bound, ...] = ()
    least: Account | None = None

    @classmethod
    def of(
        cls, found: Candidates, shared: Sequence[Sequence[str]] = (),
        bounds: Sequence[Bound] = (), least: Account | None = None, still: Set[str] = frozenset(),
    ) -> "Knobs":  # fmt: skip
        """shared: units that share a rate, each group a knob; every other unit has its own.

        still: units that keep their first choice
        """
        grouped = {unit for group in shared for unit in group}
        groups = [*shared, *([unit] for unit in found if unit not in grouped)]
        settings = [_settings(found, group) for group in groups]
        settings = [own[:1] if still >= own[0].keys() else own for own in settings]
        return cls(found, tuple(settings), tuple(bounds), least)

    def choice(self, state: State) -> Choice:
        """What each unit takes."""
        found: Choice = {}
        for own, setting in zip(self.settings, state, strict=True):
            found |= own[setting]
        return found

    def state(self, choice: Mapping[str, int]) -> State:
        """The first setting of each knob in which no unit loses less than by a choice."""
        return tuple(
            next(
                place for place, setting in enumerate(own)
                if all(self._pruned(u, at) >= self._pruned(u, choice[u])
                       for u, at in setting.items())
            )
            for own in self.settings
        )  # fmt: skip

    def _pruned(self, unit: str, at: int) -> int:
        return self.found[unit][at].pruned

    def excess(self, state: State) -> float:
        """By how much the bounds are passed, as shares of the intact costs; what is to be least
        passes 0."""
        choice = self.choice(state)
        over = sum(
            max(0.0, one.account.at(choice) - one.most - SLACK) / one.account.intact
            for one in self.bounds
        )
        return over + (self.least.at(choice) / self.least.intact if self.least else 0.0)

    def costs(self, state: State) -> list[np.ndarray]:
        """For each knob (settings, costs): what its settings cost where the others stay.

        The costs of all bounds, then that which is to be least, each less its bound, as a share
        of the intact one.  Exact for knobs of one unit.
        """
        choice = self.choice(state)
        accounts = [(one.account, one.most + SLACK) for one in self.bounds]
        if self.least:
            accounts.append((self.least, 0.0))
        columns = []
        for account, most in accounts:
            own = account.each(choice, {unit: len(some) for unit, some in self.found.items()})
            now = account.at(choice)
            columns.append([
                np.array([
                    (now + sum(own[unit][at] - now for unit, at in setting.items()) - most)
                    / account.intact
                    for setting in knob
                ])
                for knob in self.settings
            ])  # fmt: skip
        return [np.stack([column[knob] for column in columns], 1)
                for knob in range(len(self.settings))]  # fmt: skip


def _settings(found: Candidates, group: Sequence[str]) -> tuple[Choice, ...]:
    """A unit's choices that differ in what falls; for a group each rate that one of it has.

    A unit of a group that lacks the rate stays whole; one that is pinned keeps its own.
    """
    if len(group) == 1:
        (unit,) = group
        own = found[unit]
        fresh = [0, *(i for i in range(1, len(own)) if own[i].pruned > own[i - 1].pruned)]
        return tuple({unit: place} for place in fresh)
    pinned = {unit for unit in group if len(found[unit]) == 1}
    rates = {one.asked for unit in group for one in found[unit] if one.pruned}
    rates &= {found[unit][0].asked for unit in pinned if found[unit][0].pruned} or rates
    taken = ({one.asked: i for i, one in enumerate(found[unit])} for unit in group)
    places = dict(zip(group, taken, strict=True))
    return tuple(
        {unit: 0 if unit in pinned else places[unit].get(rate, 0) for unit in group}
        for rate in (0.0, *sorted(rates))
    )
