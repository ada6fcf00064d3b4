"""Knobs: their settings, and costs that are those of the whole choice."""

import numpy as np
import planted
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_costs import some

from lesion.rates import costs as accounting
from lesion.rates.candidates import Candidate
from lesion.rates.knobs import Knobs
from lesion.rates.milp import SLACK, Bound

ANATOMY = planted.anatomy(20)
FOUND = some(ANATOMY)
ACCOUNT = accounting.macs(ANATOMY, FOUND)
BOUNDS = (Bound(ACCOUNT, 0.6 * ACCOUNT.intact), Bound(accounting.parameters(ANATOMY, FOUND), 1e5))
UNITS = list(FOUND)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_costs_are_those_of_the_whole_choice(data):
    knobs = Knobs.of(FOUND, bounds=BOUNDS, least=ACCOUNT)
    state = tuple(data.draw(st.integers(0, len(own) - 1)) for own in knobs.settings)
    costs = knobs.costs(state)
    knob = data.draw(st.integers(0, len(state) - 1))
    for setting, found in enumerate(costs[knob]):
        choice = knobs.choice((*state[:knob], setting, *state[knob + 1 :]))
        wanted = [
            (one.account.at(choice) - one.most - SLACK) / one.account.intact for one in BOUNDS
        ]
        assert found == pytest.approx([*wanted, ACCOUNT.at(choice) / ACCOUNT.intact])


def test_excess_is_what_passes_the_bounds():
    knobs, free = Knobs.of(FOUND, bounds=BOUNDS), Knobs.of(FOUND)
    whole = (0,) * len(knobs.settings)
    parameters = BOUNDS[1].account.intact
    assert knobs.excess(whole) == pytest.approx(0.4 + (parameters - 1e5) / parameters)
    assert free.excess(whole) == 0
    assert Knobs.of(FOUND, least=ACCOUNT).excess(whole) == pytest.approx(1)


def test_a_state_loses_no_less_than_the_choice_and_has_it_where_it_can():
    knobs = Knobs.of(FOUND)
    choice = {unit: number % len(FOUND[unit]) for number, unit in enumerate(UNITS)}
    found = knobs.choice(knobs.state(choice))
    assert all(FOUND[u][found[u]].pruned == FOUND[u][at].pruned for u, at in choice.items())
    grouped = Knobs.of(FOUND, [UNITS[:3]])
    assert len(grouped.settings) == len(UNITS) - 2
    mixed = grouped.choice(grouped.state({**dict.fromkeys(UNITS, 0), UNITS[1]: 2}))
    assert [mixed[unit] for unit in UNITS[:3]] == [2, 2, 2]


def test_choices_that_lose_as_many_channels_are_one_setting():
    none, one = (Candidate(0.0, np.zeros(4, bool)), Candidate(0.3, np.eye(4, dtype=bool)[0]))
    found = {"a": (none, Candidate(0.1, none.fallen), one, Candidate(0.4, one.fallen))}
    assert Knobs.of(found).settings == (({"a": 0}, {"a": 2}),)


def test_a_pinned_unit_gives_its_rate_to_the_stage():
    def unit(*rates):
        return tuple(Candidate(rate, np.arange(10) < 10 * rate) for rate in rates)

    found = {"a": unit(0.0, 0.2, 0.5), "b": unit(0.5), "c": unit(0.0, 0.2), "d": unit(0.0)}
    (settings,) = Knobs.of(found, [list(found)]).settings
    assert settings == ({"a": 0, "b": 0, "c": 0, "d": 0}, {"a": 2, "b": 0, "c": 0, "d": 0})
