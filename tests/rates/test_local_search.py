"""The search for rates beside all of them: within the bounds, and seldom far from the best."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesion.rates.candidates import Candidate
from lesion.rates.costs import Account, Product
from lesion.rates.knobs import Knobs
from lesion.rates.local_search import Search
from lesion.rates.margins import Shifts
from lesion.rates.milp import Bound

UNITS, CHOICES, CHANNELS = 4, 4, 12
seeds = st.integers(0, 2**31)


def case(seed, images=200):
    """Four units in a row whose costs multiply, and moves that grow with what falls."""
    rng = np.random.default_rng(seed)
    falls = np.arange(CHOICES) * 3
    found = {
        f"u{unit}": tuple(Candidate(n / CHANNELS, np.arange(CHANNELS) < n) for n in falls)
        for unit in range(UNITS)
    }
    terms = [{f"u{unit}": falls} for unit in range(UNITS)]
    account = Account(tuple(
        Product(float(rng.integers(1, 10)), CHANNELS, CHANNELS, one, two)
        for one, two in zip([{}, *terms], [*terms, {}], strict=True)
    ))  # fmt: skip
    base = rng.gamma(2, 1, images) - 0.2
    moves = [
        -np.cumsum(rng.gamma(0.5, rng.uniform(0.1, 1), (CHOICES, images)), 0)
        + rng.normal(0, 0.2, (CHOICES, images))
        for _ in range(UNITS)
    ]
    moves = [own - own[0] for own in moves]
    return found, account, Shifts((base > 0).astype(float), (0,) * UNITS, base, moves)


def every(knobs):
    return product(*(range(len(own)) for own in knobs.settings))


def lost(shifts, state):
    """The predicted loss, image by image."""
    moved = sum((own[at] for own, at in zip(shifts.moves, state, strict=True)), shifts.base)
    return float(np.mean(shifts.base > 0) - np.mean(moved > 0))


def best_within(knobs, shifts):
    return min(lost(shifts, state) for state in every(knobs) if knobs.excess(state) <= 1e-9)


@settings(max_examples=60, deadline=None)
@given(seeds, st.floats(0.3, 0.9))
def test_it_meets_the_bound_and_no_exchange_of_two_steps_is_better(seed, share):
    found, account, shifts = case(seed)
    knobs = Knobs.of(found, bounds=[Bound(account, share * account.intact)])
    state = Search(knobs, shifts).best(shifts.state)
    assert state is not None and account.at(knobs.choice(state)) <= share * account.intact + 1e-3
    for other in every(knobs):
        if sum(a != b for a, b in zip(state, other, strict=True)) == 1:
            assert knobs.excess(other) > 1e-9 or lost(shifts, other) >= lost(shifts, state) - 1e-9


def test_it_mostly_finds_the_best_of_all():
    """Of 80 cases with 256 states each."""
    gaps = []
    for seed in range(80):
        found, account, shifts = case(seed)
        knobs = Knobs.of(found, bounds=[Bound(account, 0.5 * account.intact)])
        state = Search(knobs, shifts).best(shifts.state)
        gaps.append(lost(shifts, state) - best_within(knobs, shifts))
    assert min(gaps) >= -1e-9
    assert np.mean(np.array(gaps) <= 1e-9) >= 0.8
    assert np.mean(gaps) <= 0.005


@settings(max_examples=40, deadline=None)
@given(seeds, st.floats(0.5, 20))
def test_the_least_stays_within_the_predicted_drop(seed, most):
    found, account, shifts = case(seed)
    knobs = Knobs.of(found, least=account)
    state = Search(knobs, shifts, most).best(shifts.state)
    assert state is None or shifts.high(shifts.values(state)) <= most + 1e-9
    whole = shifts.high(shifts.values(shifts.state))
    assert (state is None) == (whole > most)
    if state is not None:  # no knob can go further
        for knob, at in enumerate(state):
            if at + 1 < CHOICES:
                further = (*state[:knob], at + 1, *state[knob + 1 :])
                assert shifts.high(shifts.values(further)) > most


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_it_stays_near(seed):
    found, account, shifts = case(seed)
    knobs = Knobs.of(found, bounds=[Bound(account, 0.8 * account.intact)])
    state = Search(knobs, shifts, reach=1).best(shifts.state)
    assert state is None or max(state) <= 1


def test_out_of_reach_is_none():
    found, account, shifts = case(0)
    knobs = Knobs.of(found, bounds=[Bound(account, 0.01 * account.intact)])
    assert Search(knobs, shifts).best(shifts.state) is None


def test_scores_that_are_no_margins_add_up():
    found, account, _ = case(0)
    moves = [np.array([[0.0], [-0.1 * n], [-0.3], [-0.9]]) for n in range(1, UNITS + 1)]
    shifts = Shifts(np.ones(1), (0,) * UNITS, np.ones(1), moves, hits=False)
    assert shifts.drop(shifts.values((1, 1, 0, 0))) == pytest.approx(30)
    knobs = Knobs.of(found, bounds=[Bound(account, 0.7 * account.intact)])
    state = Search(knobs, shifts).best(shifts.state)
    wanted = min(
        shifts.drop(shifts.values(other)) for other in every(knobs) if knobs.excess(other) <= 1e-9
    )
    assert shifts.drop(shifts.values(state)) == pytest.approx(wanted)
