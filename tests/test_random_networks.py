"""Random networks: what is removed is what the physically smaller network lacks.

What must not be removed alone the reference refuses, so that a unit that is too small, or called
free though others depend on its channels, fails here.
"""

import numpy as np
import pytest
import removal
import torch
from cutting import cut
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from programs import STEPS, Empty, Program

NAMES = sorted(STEPS)
SLOW = settings(deadline=None, suppress_health_check=list(HealthCheck))
number = st.integers(0, 7)
programs = st.lists(st.tuples(st.sampled_from(NAMES), number, number, number), max_size=7)


@torch.no_grad()
def compare(steps, seed: int = 0) -> int:
    """How many removals were compared with the smaller network's outputs."""
    torch.manual_seed(seed)
    network = Program(steps)
    case = removal.case(network, 3, 5, 5)
    anatomy, compared = case.dissection.anatomy, 0
    for unit in case.units:
        for dropped in removal.drops(unit, anatomy.channels, seeds=3):
            gone = {
                layer.name: frozenset(np.flatnonzero(dropped[list(anatomy.made_by(layer.name))]))
                for layer in anatomy.layers
            }
            try:
                expected = network.without(gone, case.x)
            except Empty:
                continue
            lesion = removal.whole(unit, dropped)
            outputs = dict(case.replay.run((case.x,), {lesion: cut(case.replay, lesion, dropped)}))
            effect = (expected - outputs[None]).abs().max()
            error = (outputs[lesion] - expected).abs().max()
            assert error <= 1e-9 * (1 + expected.abs().max()), (steps, unit, float(error))
            compared += int(effect > 0)
    return compared


@settings(SLOW, max_examples=25)
@given(programs)
def test_removal_equals_the_smaller_network(steps):
    compare(steps)


@pytest.mark.complete
@settings(SLOW, max_examples=500)
@given(programs)
def test_removal_equals_the_smaller_network_in_many(steps):
    compare(steps)


@pytest.mark.parametrize("what", NAMES)
def test_every_step_is_followed_or_tied_where_it_stands_between_layers(what):
    steps = [("conv", 0, 0, 3), ("conv", 1, 1, 2), (what, 0, 1, 1), ("conv", 0, 0, 1)]
    assert compare(steps) > 0
