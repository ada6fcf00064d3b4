"""The solver's choices are those of brute force."""

from itertools import pairwise, product

import numpy as np
import pytest

from lesion.rates.costs import Account, Product
from lesion.rates.milp import Bound, Problem, solve


def account(rng, units, choices, coupled):
    """A chain of layers between units, and layers that several read; whole numbers."""
    falls = {unit: np.sort(rng.integers(0, 9, choices)) for unit in units}
    for own in falls.values():
        own[0] = 0
    products = []
    for one, two in pairwise(units):
        both = ({one: falls[one]}, {two: falls[two]}) if coupled else ({}, {two: falls[two]})
        products.append(Product(float(rng.integers(1, 20)), 10, 10, *both))
    if coupled:
        several = {unit: falls[unit] for unit in units[:3]}
        products.append(Product(3.0, 10, 30, {units[-1]: falls[units[-1]]}, several))
        products.append(
            Product(2.0, 10, 10, {units[0]: falls[units[0]]}, {units[0]: falls[units[0]]})
        )
    return Account(tuple(products))


def brute(problem, units, choices):
    """The least value over all choices that meet the bounds, inf for none; and how many do."""
    best = np.inf
    for places in product(range(choices), repeat=len(units)):
        choice = dict(zip(units, places, strict=True))
        lost = sum(problem.loss[unit][at] for unit, at in choice.items())
        if lost > problem.most + 1e-9 or not shared(problem, choice):
            continue
        if any(bound.account.at(choice) > bound.most for bound in problem.bounds):
            continue
        best = min(best, lost if problem.least is None else problem.least.at(choice))
    return best


def shared(problem, choice):
    for group in problem.shared:
        taken = {problem.columns[unit][choice[unit]] for unit in group} - {0.0}
        if len(taken) > 1:
            return False
    return True


def value(problem, choice):
    if problem.least is not None:
        return problem.least.at(choice)
    return sum(problem.loss[unit][at] for unit, at in choice.items())


def instance(seed):
    """A small problem of one of several kinds."""
    rng = np.random.default_rng(seed)
    units, choices = [f"u{n}" for n in range(int(rng.integers(3, 6)))], int(rng.integers(2, 5))
    loss = {unit: np.sort(rng.integers(0, 50, choices) / 7) for unit in units}
    for own in loss.values():
        own[0] = 0
        own[rng.random(choices) < 0.2] *= -1  # a cut may be an improvement
    macs, others = (account(rng, units, choices, coupled) for coupled in (True, False))
    bounds = [Bound(macs, float(np.floor(macs.intact * rng.uniform(0.2, 1))))]
    if seed % 3 == 1:
        bounds.append(Bound(others, float(np.floor(others.intact * rng.uniform(0.3, 1)))))
    most, least = np.inf, None
    if seed % 4 == 2:
        bounds, most, least = [], float(rng.uniform(0, 10)), macs
    groups = [units[:3]] if seed % 5 == 3 else []
    columns = {unit: [0.0, 0.3, 0.5, 0.7][:choices] for unit in units}
    return Problem(loss, bounds, most, least, groups, columns), units, choices


@pytest.mark.parametrize("start", range(0, 200, 20))
def test_the_solver_equals_brute_force(start):
    """200 random cases: coupled costs, two budgets, least cost within a loss, shared rates."""
    for seed in range(start, start + 20):
        problem, units, choices = instance(seed)
        wanted, found = brute(problem, units, choices), solve(problem)
        if found is None:
            assert wanted == np.inf, seed
            continue
        assert value(problem, found) == pytest.approx(wanted, abs=1e-7), seed
        assert shared(problem, found)
        assert all(bound.account.at(found) <= bound.most for bound in problem.bounds)


def test_a_bound_that_float_tolerance_would_let_slip_is_kept():
    """One image's worth beyond a budget of 10⁹ is beyond it."""
    big = Account((Product(1.0, 10**9, 1, {"a": np.array([0, 1])}, {}),))
    problem = Problem({"a": np.array([0.0, 5.0])}, [Bound(big, 10**9 - 1)])
    assert solve(problem) == {"a": 1}


def test_what_cannot_be_met_is_none():
    one = Account((Product(1.0, 10, 1, {"a": np.array([0, 5])}, {}),))
    assert solve(Problem({"a": np.array([0.0, 1.0])}, [Bound(one, 4)])) is None
