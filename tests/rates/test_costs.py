"""Costs put together from products equal those of the shrunk network, whatever falls."""

import numpy as np
import planted
import pytest
from anatomies import planted as small
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import NETWORKS

from lesion.lesions.lesion import Target
from lesion.lesions.ratios import falling
from lesion.network.cost import cost
from lesion.rates import costs as accounting
from lesion.rates.candidates import Candidate, dropped

PARTS = (0.2, 0.5, 0.8)


def some(anatomy):
    """For each unit that can be removed nothing, and what falls at three ratios by chance."""
    rng = np.random.default_rng(0)
    by_unit = {}
    for unit in anatomy.units:
        if unit.kind == "tied":
            continue
        scores = rng.normal(size=unit.channels)
        fallen = [
            falling(anatomy, Target(unit.name, unit.kind), scores, ratio, "floor-kept")
            for ratio in PARTS
        ]
        none = Candidate(0, np.zeros(unit.channels, bool))
        by_unit[unit.name] = (none, *(Candidate(r, f) for r, f in zip(PARTS, fallen, strict=True)))
    return by_unit


def check(anatomy, data):
    candidates = some(anatomy)
    choice = {name: data.draw(st.integers(0, 3), label=name) for name in candidates}
    gone = dropped(anatomy, {name: candidates[name][at] for name, at in choice.items()})
    wanted = cost(anatomy, gone)
    assert accounting.macs(anatomy, candidates).at(choice) == wanted.macs
    assert accounting.parameters(anatomy, candidates).at(choice) == wanted.parameters
    assert accounting.macs(anatomy, candidates).intact == cost(anatomy).macs
    check_each(accounting.parameters(anatomy, candidates), candidates, choice)


def check_each(account, candidates, choice):
    """What each other choice of one unit costs."""
    each = account.each(choice, {unit: len(choices) for unit, choices in candidates.items()})
    for unit, costs in each.items():
        wanted = [account.at({**choice, unit: at}) for at in range(len(candidates[unit]))]
        assert costs.tolist() == wanted


@pytest.mark.parametrize("name", sorted(NETWORKS))
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_any_coupling(name, data):
    check(small(name), data)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_streams_that_read_and_make_one_another(data):
    check(planted.anatomy(20), data)
