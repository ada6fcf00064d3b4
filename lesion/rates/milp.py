"""The best choice for every unit within a budget, as a mixed-integer linear programme.

A multiple-choice knapsack (each unit takes one of its choices) with products: a layer between two
units that shrink costs the product of what both keep.  For each choice i of a unit on one side, a
variable w_i stands for x_i times what is left of the other side: Σ w_i is what is left, and
least · x_i ≤ w_i ≤ most · x_i.  With whole x that is exact.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from lesion.errors import LesionError
from lesion.rates.costs import Account, Product

if TYPE_CHECKING:
    from scipy.optimize import LinearConstraint

SLACK = 1e-6  # of a bound that is not of whole numbers
SCALE = 1e4  # of the goal: the solver stops at an absolute gap of 1e-6


@dataclass(frozen=True, eq=False)
class Bound:
    """A cost that may not be larger than so much."""

    account: Account
    most: float


@dataclass(frozen=True, eq=False)
class Problem:
    """What is to be least, and within what.

    loss: for each unit a number for each of its choices; most: the largest sum of them, inf for
        any; bounds: of costs that are no such sums
    least: the cost to be least; None to make the sum of losses least
    shared: groups of units of which all that lose channels take the same column of `columns`
    """

    loss: Mapping[str, np.ndarray]
    bounds: Sequence[Bound] = ()
    most: float = np.inf
    least: Account | None = None
    shared: Sequence[Sequence[str]] = ()
    columns: Mapping[str, Sequence[float]] = field(default_factory=dict)


def solve(problem: Problem) -> dict[str, int] | None:
    """The number of each unit's choice, None where nothing meets the bounds.

    Exact: the gap is 0, and what a solver's float tolerance lets through is excluded and solved
    again.
    """
    programme = _Programme(problem)
    while True:
        choice = programme.solved()
        if choice is None or _meets(problem, choice):
            return choice
        programme.exclude(choice)


def _meets(problem: Problem, choice: Mapping[str, int]) -> bool:
    lost = sum(float(problem.loss[unit][at]) for unit, at in choice.items())
    if lost > problem.most + SLACK:
        return False
    return all(bound.account.at(choice) <= bound.most + SLACK for bound in problem.bounds)


class _Programme:
    """The columns and rows of the programme as they come together."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.width = 0
        self.rows: list[tuple[dict[int, float], float, float]] = []
        self.start = {unit: self._columns(len(loss)) for unit, loss in problem.loss.items()}
        self.binary = self.width
        self.upper: list[float] = [1.0] * self.width
        for unit, first in self.start.items():
            columns = range(first, first + len(problem.loss[unit]))
            self._row(dict.fromkeys(columns, 1.0), 1, 1)
        for group in problem.shared:
            self._share(group)
        self._losses = {
            first + place: float(value)
            for unit, first in self.start.items()
            for place, value in enumerate(problem.loss[unit])
        }
        if np.isfinite(problem.most):
            scale = max(abs(problem.most), 1e-12)
            self._row({c: v / scale for c, v in self._losses.items()}, -np.inf, 1)
        for bound in problem.bounds:
            terms, constant = self._linear(bound.account)
            scale = bound.account.intact
            row = {column: value / scale for column, value in terms.items()}
            self._row(row, -np.inf, (bound.most - constant) / scale)
        self.goal = self._losses
        if problem.least is not None:
            terms, _ = self._linear(problem.least)
            self.goal = {c: v / problem.least.intact for c, v in terms.items()}

    def _columns(self, count: int) -> int:
        first = self.width
        self.width += count
        return first

    def _row(self, terms: dict[int, float], low: float, high: float) -> None:
        self.rows.append((terms, low, high))

    def _share(self, group: Sequence[str]) -> None:
        """One column at most is taken by the units of a group that lose channels."""
        columns = self.problem.columns
        taken = sorted({value for unit in group for value in columns[unit] if value})
        first = self._more(len(taken), 1.0)
        place = {value: first + at for at, value in enumerate(taken)}
        self._row(dict.fromkeys(place.values(), 1.0), 0, 1)
        for unit in group:
            for at, value in enumerate(columns[unit]):
                if value:
                    self._row({self.start[unit] + at: 1.0, place[value]: -1.0}, -np.inf, 0)

    def _more(self, count: int, upper: float) -> int:
        """Columns of continuous variables from 0 to `upper`."""
        self.upper += [upper] * count
        return self._columns(count)

    def _linear(self, account: Account) -> tuple[dict[int, float], float]:
        """A cost as coefficients of columns and a constant; adds the columns that it needs."""
        terms: dict[int, float] = {}
        constant = 0.0
        for product in account.products:
            constant += product.factor * product.first * product.second
            for column, value in self._expanded(product):
                terms[column] = terms.get(column, 0.0) + value
        return terms, constant

    def _expanded(self, product: Product) -> Iterator[tuple[int, float]]:
        """A product without its constant: −factor·(second·Σ one + Σ_i one_i w_i …)."""
        for unit, falls in product.two.items():
            for at, value in enumerate(falls):
                yield self.start[unit] + at, -product.factor * product.first * float(value)
        for unit, falls in product.one.items():
            if not product.two:
                for at, value in enumerate(falls):
                    yield self.start[unit] + at, -product.factor * product.second * float(value)
                continue
            first = self._lefts(unit, product)
            for at, value in enumerate(falls):
                yield first + at, -product.factor * float(value)

    def _lefts(self, unit: str, product: Product) -> int:
        """For each choice of a unit what is left of the other axis, if the choice is taken."""
        choices = len(self.problem.loss[unit])
        whole = float(product.second)
        least = whole - sum(float(falls.max()) for falls in product.two.values())
        most = whole - sum(float(falls.min()) for falls in product.two.values())
        first = self._more(choices, most)
        for at in range(choices):
            taken = self.start[unit] + at
            self._row({first + at: 1.0, taken: -most}, -np.inf, 0)
            self._row({first + at: 1.0, taken: -least}, 0, np.inf)
        row = dict.fromkeys(range(first, first + choices), 1.0)
        for other, falls in product.two.items():
            for at, value in enumerate(falls):
                column = self.start[other] + at
                row[column] = row.get(column, 0.0) + float(value)
        self._row(row, whole, whole)
        return first

    def exclude(self, choice: Mapping[str, int]) -> None:
        """This choice no more."""
        taken = {self.start[unit] + at: 1.0 for unit, at in choice.items()}
        self._row(taken, -np.inf, len(taken) - 1)

    def solved(self) -> dict[str, int] | None:
        """The best choice by the rows so far."""
        from scipy.optimize import Bounds, milp  # late, so that reading a study is quick

        goal = np.zeros(self.width)
        goal[list(self.goal)] = list(self.goal.values())
        goal *= SCALE / max(float(np.abs(goal).max()), 1e-12)
        integral = np.zeros(self.width, int)
        integral[: self.binary] = 1
        upper = np.array(self.upper)
        result = milp(
            goal,
            constraints=self._constraints(),
            integrality=integral,
            bounds=Bounds(np.zeros(self.width), upper),
            options={"mip_rel_gap": 0},
        )
        if result.status == 2:
            return None
        if result.x is None:
            raise LesionError(f"Expected rates, but the solver stopped: {result.message}")
        return {
            unit: int(np.argmax(result.x[first : first + len(self.problem.loss[unit])]))
            for unit, first in self.start.items()
        }

    def _constraints(self) -> "LinearConstraint":
        from scipy.optimize import LinearConstraint
        from scipy.sparse import coo_array

        entries = [
            (row, column, value)
            for row, (terms, _, _) in enumerate(self.rows)
            for column, value in terms.items()
        ]
        rows, columns, values = zip(*entries, strict=True)
        matrix = coo_array((values, (rows, columns)), shape=(len(self.rows), self.width))
        low, high = zip(*((low, high) for _, low, high in self.rows), strict=True)
        return LinearConstraint(matrix.tocsr(), np.array(low), np.array(high))
