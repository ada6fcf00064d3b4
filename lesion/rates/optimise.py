"""The best rates within a budget, by what is predicted of them together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lesion.errors import LesionError
from lesion.network.anatomy import Anatomy, Unit
from lesion.rates.budget import RESOURCES, Budget
from lesion.rates.candidates import Candidates
from lesion.rates.costs import (
    Account,
    bit_operations,
    bits,
    either,
    macs,
    parameters,
    rounding,
)
from lesion.rates.knobs import Choice, Knobs
from lesion.rates.local_search import Search
from lesion.rates.milp import SLACK, Bound, Problem, solve
from lesion.rates.prediction import Basis
from lesion.words import percent, points

if TYPE_CHECKING:
    from lesion.rates.latency import Times


def accounts_of(
    anatomy: Anatomy, candidates: Candidates, times: "Times | None" = None
) -> dict[str, Account]:
    """What choices cost of each resource."""
    accounts = {
        "macs": macs(anatomy, candidates),
        "params": parameters(anatomy, candidates),
        "bytes": bits(anatomy, candidates),
        "bops": bit_operations(anatomy, candidates),
    }
    if times is not None:
        accounts["latency"] = times.account(anatomy, candidates)
    return accounts


def bounds_of(budget: Budget, accounts: Mapping[str, Account]) -> list[Bound]:
    """What may be spent of each resource that a budget bounds."""
    return [
        Bound(accounts[name], share * accounts[name].intact)
        for name, share in budget.shares.items()
    ]


def groups(anatomy: Anatomy, candidates: Candidates, budget: Budget) -> list[list[str]]:
    """The units of each stage, where these share a rate."""
    if budget.per != "stage":
        return []
    groups: dict[int, list[str]] = {}
    for unit, choices in candidates.items():
        stage = stage_of(anatomy, anatomy.unit[unit]) if len(choices[0].fallen) else None
        if stage is not None:
            groups.setdefault(stage, []).append(unit)
    return list(groups.values())


def stage_of(anatomy: Anatomy, unit: Unit) -> int | None:
    """The stage of a unit's layers, None where they are of several."""
    stages = {anatomy.layer[name].stage for name in unit.layers}
    return stages.pop() if len(stages) == 1 else None


@dataclass(frozen=True, eq=False)
class Within:
    """The choices that a budget leaves, and the best of them."""

    anatomy: Anatomy
    basis: Basis
    budget: Budget
    accounts: Mapping[str, Account]

    def best(self, most: float | None) -> Choice:
        """most: the predicted drop that is allowed, in points, None for any.

        Raises LesionError where the budget is out of reach, or where no drop can be predicted.
        """
        if most is not None and not self.basis.composes:
            raise LesionError(
                "Expected no bound on the joint drop, which is predicted of accuracies alone, got "
                f"{points(most)}; bound what may remain (--macs 50%), and measure what the rates "
                "lose."
            )
        least = self.accounts[self.budget.smallest] if self.budget.smallest else None
        bounds = bounds_of(self.budget, self.accounts)
        while True:
            choice = self._solved(bounds, most, least)
            if choice is None:
                raise LesionError(self._out_of_reach(most))
            exact = self._within_exactly(choice, bounds)
            if exact == bounds:
                return choice
            bounds = exact

    def _within_exactly(self, choice: Choice, bounds: Sequence[Bound]) -> list[Bound]:
        """The bounds, tighter where a choice passes them by what costs of weights are rounded."""
        tighter = []
        for (name, share), bound in zip(self.budget.shares.items(), bounds, strict=True):
            most = share * bound.account.intact
            cost = bound.account.at(choice)
            more = rounding(self.anatomy, self.basis.candidates, choice, name)
            passed = cost + more > most + SLACK
            tighter.append(replace(bound, most=min(bound.most, most) - more) if passed else bound)
        return tighter

    def _solved(
        self, bounds: Sequence[Bound], most: float | None, least: Account | None
    ) -> Choice | None:
        """The best choice within bounds, None where nothing is found that meets them."""
        by_drops = self.basis.moves is None or self._shared  # layers may skip a stage's rate
        bounds = [*bounds, Bound(either(self.anatomy, self.basis.candidates), 1.0)]
        if by_drops or (least is not None and most is None):
            return solve(self._problem(bounds, most, least))
        knobs = Knobs.of(self.basis.candidates, self._shared, bounds, least)
        search = Search(knobs, self.basis.shifts(knobs), np.inf if most is None else most)
        starts = [search.shifts.state]
        if least is None:
            exact = solve(self._problem(bounds, None, None))
            if exact is None:
                return None
            starts.append(knobs.state(exact))
        ends = [end for start in starts if (end := search.best(start)) is not None]
        return knobs.choice(min(ends, key=search.rank)) if ends else None

    @property
    def _shared(self) -> list[list[str]]:
        return groups(self.anatomy, self.basis.candidates, self.budget)

    def _problem(
        self, bounds: Sequence[Bound], most: float | None, least: Account | None
    ) -> Problem:
        """The same by drops, for the solver."""
        units = self.basis.candidates.items()
        loss = {unit: self.basis.losses([each.high for each in choices]) for unit, choices in units}
        limit = np.inf if most is None else float(self.basis.losses([most])[0])
        columns = {unit: [each.asked for each in choices] for unit, choices in units}
        return Problem(loss, bounds, limit, least, self._shared, columns)

    def _out_of_reach(self, most: float | None) -> str:
        """What can be reached of the first resource, the rest held where that is possible."""
        name = self.budget.first
        account = self.accounts[name]
        whole = bounds_of(self.budget, self.accounts)
        others = [bound for bound in whole if bound.account is not account]
        for bounds, limit in ((others, most), ([], most), ([], None)):
            nearest = self._solved(bounds, limit, account)
            if nearest is not None:
                break
        else:
            return "Expected rates that can be met, but what is pinned contradicts itself."
        left = percent(np.ceil(1e4 * account.at(nearest) / account.intact) / 1e4)
        drop = self.basis.predicted(nearest).drop
        lost = f", at a predicted drop of {points(round(drop, 2))}" if self.basis.composes else ""
        return (
            f"Expected rates with {self.budget.words(self.basis.composes)}, but that is out of "
            f"reach: the fewest {RESOURCES[name]} that the study's ratios leave are {left}{lost}; "
            "allow more to remain or to be lost, or measure higher ratios or more layers (--units "
            "all)."
        )
