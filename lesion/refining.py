"""Rates improved by measuring them together.

Curves say what each cut costs in the whole network; next to other cuts it may cost more or less.
So around the rates at hand every unit is tried one step up and one step down, all others as they
are; the solver then finds the best of these neighbours together, within the budget; and that is
kept if it measures better.  What was learned holds near the rates at hand only, so it starts anew
from there; and it starts from the better of the rates that curves give, and those that the same way
leads to from the intact network, a little at a time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from lesion.allocating import accounts_of, choices, described, groups
from lesion.allocation import Allocation
from lesion.budget import Budget
from lesion.candidates import Candidate, Candidates, dropped
from lesion.curves import paired
from lesion.errors import LesionError
from lesion.outcomes import Intact, Outcomes
from lesion.plan import Joint
from lesion.solving import Bound, Problem, solve
from lesion.study import Study
from lesion.together import Bench
from lesion.wording import grouped

if TYPE_CHECKING:
    from lesion.latency import Times

CONFIDENCE = 0.95
STEP = 0.07  # of a resource, about, at each step on the way down
Choice = Mapping[str, int]


@dataclass(eq=False)
class _Search:
    """The images that rates are tried on, and what is known of them so far, in points."""

    study: Study
    bench: Bench
    found: Candidates
    images: tuple[int, ...]
    column: str
    intact: Intact
    times: "Times | None"

    def drops(self, tried: Sequence[Choice], column: str = "") -> list[float]:
        """What each choice loses, in points; of the cross-entropy, "loss", by how much it rises."""
        cuts = {}
        for number, choice in enumerate(tried):
            taken = self.taken(choice)
            units = tuple(unit for unit, one in taken.items() if one.pruned)
            cuts[Joint(units, number)] = dropped(self.study.anatomy, taken)
        cuts = {one: gone for one, gone in cuts.items() if one.units}
        outcomes = self.bench.outcomes(cuts, self.images, self.intact)
        name = column or self.column
        base = _mean(self.intact.outcomes, name)
        found = {one.number: _mean(own, name) for one, own in outcomes.items()}
        lost = [base - found.get(number, base) for number in range(len(tried))]
        return [-one for one in lost] if name == "loss" else [100 * one for one in lost]

    def of(self, images: int) -> "_Search":
        """The same on the first of its images."""
        some = self.intact.take(slice(images))
        return replace(self, images=self.images[:images], intact=some)

    def taken(self, choice: Choice) -> dict[str, Candidate]:
        return {unit: self.found[unit][at] for unit, at in choice.items()}


def refine(
    study: Study, bench: Bench, allocation: Allocation, budget: Budget, *, images: int = 2000,
    rounds: int = 4, times: "Times | None" = None,
) -> Allocation:  # fmt: skip
    """The rates after at most so many rounds, with the joint drop that they measure.

    allocation: rates that were allocated from this study by this budget
    images: how many of the study's order to try them on; those kept back are not touched
    A round takes two passes a unit over the images, the way down three on a quarter of them for
    each 7 % of the resource.  Raises LesionError for a budget of the least, which names no share.
    """
    if budget.smallest:
        raise LesionError(
            "Expected a share that may remain for rates that are refined, got the least; give the "
            "share that was reached."
        )
    found = choices(study, budget, allocation.criterion, allocation.column)
    used = study.header.order[:images]
    intact = bench.intact(used)
    search = _Search(study, bench, found, used, allocation.column, intact, times)
    starts: list[Choice] = [_where(found, allocation)]
    if down := _descended(search.of(images // 4), budget):
        starts.append(down)
    drop, place = min((one, place) for place, one in enumerate(search.drops(starts)))
    at = starts[place]
    for _ in range(rounds):
        better = _better(search, at, drop, budget)
        if better is None:
            break
        at, drop = better
    return _described(search, at, allocation, budget)


def _descended(search: _Search, budget: Budget) -> Choice | None:
    """From the intact network down to the budget, a little at a time; None where it is stuck.

    What the next cuts cost beside those that are made is measured anew at each step: by the
    cross-entropy where there is one, which tells small harm from none on few images.
    """
    column = "loss" if "loss" in search.intact.outcomes.columns else ""
    at: Choice | None = dict.fromkeys(search.found, 0)
    steps = max(ceil((1 - share) / STEP) for share in budget.shares.values())
    for step in range(1, steps + 1):
        assert at is not None
        part = step / steps
        shares = {name: 1 - part * (1 - share) for name, share in budget.shares.items()}
        at = _lower(search, at, shares, column, budget)
        if at is None:
            return None
    return at


def _lower(
    search: _Search, at: Choice, shares: Mapping[str, float], column: str, budget: Budget
) -> Choice | None:
    """The best within lower shares by what each unit's next cuts cost, None where none is."""
    for reach in (2, 4, max(map(len, search.found.values()))):
        near = _neighbours(search.found, at, reach)
        rise = _rises(search, near, at, column)
        wanted = _solved(search, near, at, rise, 0.0, budget, shares)
        if wanted is not None:
            return wanted
    return None


def _rises(
    search: _Search, near: Mapping[str, list[int]], at: Choice, column: str = ""
) -> dict[tuple[str, int], float]:
    """What each move of one unit alone costs beside the others as they are."""
    moves = [(unit, i) for unit, places in near.items() for i in places if i != at[unit]]
    now, *measured = search.drops([at, *({**at, unit: i} for unit, i in moves)], column)
    return {move: value - now for move, value in zip(moves, measured, strict=True)}


def _mean(outcomes: Outcomes, column: str) -> float:
    return float(outcomes[column].mean(dtype=float))


def _where(found: Candidates, allocation: Allocation) -> dict[str, int]:
    """The number of the choice that each unit has."""
    kept = {rate.unit: rate.kept for rate in allocation.rates}
    return {
        unit: next(
            place for place, one in enumerate(own)
            if tuple(np.flatnonzero(~one.fallen).tolist()) == kept[unit]
        )
        for unit, own in found.items()
    }  # fmt: skip


def _better(
    search: _Search, at: Choice, drop: float, budget: Budget
) -> tuple[Choice, float] | None:  # fmt: skip
    """Neighbours within the budget that measure better together, None where none was found.

    Where the best by prediction measures worse, too much was moved at once: then every move has to
    promise more.
    """
    near = _neighbours(search.found, at)
    rise = _rises(search, near, at)
    toll, tried = 0.0, [at]
    while True:
        wanted = _solved(search, near, at, rise, toll, budget, budget.shares)
        assert wanted is not None, "the choices at hand meet the budget"
        moved = [rise[unit, place] for unit, place in wanted.items() if place != at[unit]]
        if not moved:
            return None
        if wanted not in tried:
            tried.append(wanted)
            (value,) = search.drops([wanted])
            if value < drop:
                return wanted, value
        toll = max(2 * toll, float(np.mean(np.abs(moved))) / 4, 0.01)


def _neighbours(found: Candidates, at: Choice, reach: int = 1) -> dict[str, list[int]]:
    """For each unit the choice below its own and the next `reach` above, with other channels."""
    near = {}
    for unit, place in at.items():
        own = found[unit]
        below = [i for i in range(place) if own[i].pruned < own[place].pruned][-1:]
        above = [i for i in range(place, len(own)) if own[i].pruned > own[place].pruned][:reach]
        near[unit] = [*below, place, *above]
    return near


def _solved(
    search: _Search, near: Mapping[str, list[int]], at: Choice,
    rise: Mapping[tuple[str, int], float], toll: float, budget: Budget,
    shares: Mapping[str, float],
) -> dict[str, int] | None:  # fmt: skip
    """The best neighbours by what each alone changes, at a toll for each that moves."""
    anatomy = search.study.anatomy
    few = {unit: tuple(search.found[unit][i] for i in places) for unit, places in near.items()}
    loss = {
        unit: np.array([0.0 if i == at[unit] else rise[unit, i] + toll for i in places])
        for unit, places in near.items()
    }
    accounts = accounts_of(anatomy, few, search.times)
    bounds = [
        Bound(accounts[name], share * accounts[name].intact) for name, share in shares.items()
    ]
    columns = {unit: [one.asked for one in own] for unit, own in few.items()}
    chosen = solve(Problem(loss, bounds, shared=groups(anatomy, few, budget), columns=columns))
    return chosen and {unit: near[unit][place] for unit, place in chosen.items()}


def _described(search: _Search, at: Choice, allocation: Allocation, budget: Budget) -> Allocation:
    """The rates with the drop that they measure, and the upper end of its interval."""
    taken = search.taken(at)
    made = described(
        search.study, taken, f"{budget.words()}, refined by measuring", allocation.criterion,
        allocation.column, allocation.baseline,
    )  # fmt: skip
    joint = Joint(tuple(rate.unit for rate in made.cut))
    gone = dropped(search.study.anatomy, taken)
    outcomes = search.intact.outcomes
    if joint.units:
        outcomes = search.bench.outcomes({joint: gone}, search.images, search.intact)[joint]
    base = search.intact.outcomes[search.column]
    drop, _, high = paired(base, outcomes[search.column], CONFIDENCE)
    return replace(
        made, drop=100 * drop, high=100 * high,
        guarantee=f"Measured together on {grouped(len(search.images))} images, by which they were "
        "also chosen; `lesion verify` measures them on others.",
    )  # fmt: skip
