"""Intervals against published goldens, and their own promise."""

from itertools import product
from math import comb, inf, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesion.errors import LesionError
from lesion.sequential.paired_intervals import newcombe, wilson

COUNT = st.integers(0, 200)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((36, 12, 2, 0), (0.2000, 0.0569, 0.3404)),
        ((53, 0, 1, 0), (-0.0185, -0.0977, 0.0496)),
    ],
)
def test_newcombe_gives_the_published_values(counts, expected):
    assert newcombe(*counts) == pytest.approx(expected, abs=5e-5)


def test_wilson_is_where_the_score_test_stops_rejecting():
    low, high = wilson(0.07, 300, 1.96)
    for end in (low, high):
        assert abs(0.07 - end) / sqrt(end * (1 - end) / 300) == pytest.approx(1.96)


def test_newcombe_joins_two_wilson_intervals_by_the_corrected_correlation():
    both, base_only, lesion_only, neither = 80, 9, 4, 7
    base, lesion = 0.89, 0.84
    phi = (both * neither - base_only * lesion_only - 50) / sqrt(89 * 11 * 84 * 16)
    (low1, high1), (low2, high2) = wilson(base, 100, 1.959964), wilson(lesion, 100, 1.959964)
    a, b = base - low1, high2 - lesion
    c, d = high1 - base, lesion - low2
    drop, low, high = newcombe(both, base_only, lesion_only, neither)
    assert drop == pytest.approx(0.05)
    assert low == pytest.approx(drop - sqrt(a**2 - 2 * phi * a * b + b**2), abs=1e-6)
    assert high == pytest.approx(drop + sqrt(c**2 - 2 * phi * c * d + d**2), abs=1e-6)


@pytest.mark.parametrize("shares", [(0.80, 0.08, 0.03, 0.09), (0.30, 0.25, 0.15, 0.30)])
def test_an_interval_covers_the_true_drop_as_often_as_it_says(shares):
    n, truth, covered = 25, shares[1] - shares[2], 0.0
    for counts in product(range(n + 1), repeat=3):
        rest = n - sum(counts)
        if rest >= 0:
            ways = (
                comb(n, counts[0]) * comb(n - counts[0], counts[1]) * comb(rest + counts[2], rest)
            )
            interval = newcombe(*counts, rest)
            if interval.low <= truth <= interval.high:
                covered += ways * np.prod(np.power(shares, (*counts, rest)))
    assert 0.93 < covered < 0.995


@settings(max_examples=100, deadline=None)
@given(COUNT, COUNT, COUNT, COUNT)
def test_an_interval_holds_its_drop_and_mirrors_when_the_networks_swap(a, b, c, d):
    if a + b + c + d == 0:
        return
    interval, mirrored = newcombe(a, b, c, d), newcombe(a, c, b, d)
    assert -1 - 1e-9 <= interval.low <= interval.drop + 1e-9
    assert interval.drop - 1e-9 <= interval.high <= 1 + 1e-9
    assert (-interval.high, -interval.low) == pytest.approx(mirrored[1:], abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(COUNT, COUNT, COUNT, COUNT)
def test_more_confidence_is_a_wider_interval(a, b, c, d):
    if a + b + c + d:
        narrow, wide = newcombe(a, b, c, d, 0.8), newcombe(a, b, c, d, 0.99)
        assert wide.low - 1e-12 <= narrow.low <= narrow.high <= wide.high + 1e-12


@pytest.mark.parametrize(("b", "c"), [(3, 0), (0, 3)])
def test_no_end_lies_beyond_what_a_drop_can_be(b, c):
    """Rounding once put an end at −1 − 2e-16."""
    drop, low, high = newcombe(0, b, c, 0, 0.8)
    assert -1 <= low <= drop <= high <= 1


def test_nothing_broken_still_leaves_doubt():
    assert newcombe(100, 0, 0, 0).high == pytest.approx(0.037, abs=5e-4)  # Wilson's upper end
    assert newcombe(100, 0, 0, 0).drop == 0


@pytest.mark.parametrize("confidence", [0, 1, 95, inf])
def test_a_confidence_outside_0_and_1_is_refused(confidence):
    with pytest.raises(
        LesionError, match=r"Expected a confidence between 0 and 1, such as 0\.95, got"
    ):
        newcombe(1, 1, 1, 1, confidence)


@pytest.mark.parametrize("counts", [(0, 0, 0, 0), (-1, 0, 5, 0)])
def test_counts_that_are_none_are_refused(counts):
    with pytest.raises(LesionError, match="none negative and not all zero, got"):
        newcombe(*counts)
