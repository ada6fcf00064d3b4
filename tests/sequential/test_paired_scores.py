"""The interval of scores that are no hits: its formula, its limits, and its promise."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesion.errors import LesionError
from lesion.sequential.paired_intervals import bonett_price, newcombe

DIFFERENCES = st.lists(st.floats(-1, 1), min_size=1, max_size=50)


def test_of_hits_it_is_the_formula_of_its_authors():
    broken, repaired, n, z = 12, 2, 50, 1.959964
    p, q = (broken + 1) / (n + 2), (repaired + 1) / (n + 2)
    half = z * sqrt((p + q - (p - q) ** 2) / (n + 2))
    interval = bonett_price([1.0] * broken + [-1.0] * repaired + [0.0] * (n - broken - repaired))
    assert interval == pytest.approx((0.2, p - q - half, p - q + half), abs=1e-6)
    assert interval == pytest.approx(newcombe(36, broken, repaired, 0), abs=0.03)


@given(DIFFERENCES, st.sampled_from([0.5, 0.8, 0.95, 0.999]))
def test_it_holds_the_mean_and_stays_on_the_scale(values, level):
    drop, low, high = bonett_price(values, level)
    assert drop == pytest.approx(np.mean(values), abs=1e-12)
    assert -1 <= low <= drop <= high <= 1
    mirrored = bonett_price([-value for value in values], level)
    assert mirrored == pytest.approx((-drop, -high, -low), abs=1e-12)


def test_it_covers_as_often_as_it_promises():
    """Differences of a beta distribution, mostly near 0: 1000 samples of 1000."""
    draw = np.random.default_rng(0)
    samples = draw.beta(0.2, 4, (1000, 1000)) - draw.beta(0.1, 4, (1000, 1000))
    mean = 0.2 / 4.2 - 0.1 / 4.1
    hits = sum(low <= mean <= high for _, low, high in map(bonett_price, samples.tolist()))
    assert 0.935 < hits / 1000 < 0.98


def test_no_differences_are_an_error():
    with pytest.raises(LesionError, match="measure at least one image"):
        bonett_price([])
    with pytest.raises(LesionError, match="Expected a confidence between 0 and 1"):
        bonett_price([0.0], 1.5)
