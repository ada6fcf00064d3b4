"""Counts of values: what they depend on, and how near their quantiles are."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lesion.compression.value_counts import BINS, ValueCounts

SEEDS = st.integers(0, 100_000)


def drawn(seed, count=400):
    """Values of very different sizes, some of them zero."""
    numbers = np.random.default_rng(seed)
    values = numbers.standard_normal(count) * 10.0 ** numbers.uniform(-3, 3, count)
    return torch.tensor(values * (numbers.random(count) < 0.8)).float()


def counted(*parts):
    counts = ValueCounts()
    for part in parts:
        counts.add(part)
    return counts


def alike(one, other):
    same = np.array_equal(one.bins, other.bins) and one.width == other.width
    return same and vars(one).keys() == vars(other).keys() and (
        (one.low, one.high, one.count, one.zeros)
        == (other.low, other.high, other.count, other.zeros)
    )  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.lists(st.integers(1, 399), max_size=6), st.randoms())
def test_neither_parts_nor_order_count(seed, cuts, random):
    values = drawn(seed)
    parts = list(torch.tensor_split(values, sorted(cuts)))
    parts = [part for part in parts if len(part)]
    random.shuffle(parts)
    assert alike(counted(*parts), counted(values))


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_bins_hold_the_values_between_their_ends(seed):
    values = drawn(seed)
    counts = counted(values)
    ends = np.arange(-BINS, BINS + 1) * counts.width
    assert np.array_equal(counts.bins, np.histogram(values.double().numpy(), ends)[0])
    largest = float(values.abs().max())
    assert largest / BINS < counts.width <= 2 * largest / BINS
    assert counts.zeros == int((values == 0).sum())
    assert counts.low == float(values.min()) and counts.high == float(values.max())


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.floats(0.01, 1.0))
def test_quantiles_are_those_of_the_values_to_a_bin(seed, share):
    values = drawn(seed)
    counts = counted(values)
    order = np.sort(values.double().numpy())
    wanted = order[max(int(np.ceil(share * len(order) - 1e-9)) - 1, 0)]
    assert wanted <= counts.quantile(share) <= wanted + counts.width
    lowest = -order[::-1][max(int(np.ceil(share * len(order) - 1e-9)) - 1, 0)]
    assert lowest - counts.width <= counts.mirrored().quantile(share) <= lowest + counts.width


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.floats(0.01, 0.99))
def test_magnitudes_have_so_large_a_share_below_them(seed, share):
    values = drawn(seed)
    counts = counted(values)
    (threshold,) = counts.magnitude(np.array([share]))
    size = values.double().abs().numpy()
    if (size == 0).mean() >= share:
        assert threshold == 0
    else:
        assert (size < threshold).mean() >= share > (size <= threshold - counts.width).mean()


def test_zeros_alone_have_no_largest_value():
    counts = counted(torch.zeros(5), torch.zeros(2))
    assert (counts.low, counts.high, counts.count, counts.zeros) == (0, 0, 7, 7)
    assert counts.bins[BINS] == 7
    later = counted(torch.zeros(5), torch.tensor([3.0]), torch.zeros(2))
    assert (later.bins[BINS], later.zeros, later.high) == (7, 7, 3)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_not_finite_is_known_from_then_on(value):
    counts = counted(torch.ones(3), torch.tensor([value]), torch.ones(2))
    assert not np.isfinite(counts.high)


def test_small_numbers_of_many_kinds():
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        values = torch.tensor([0.25, -0.5, 1e-3], dtype=kind)
        assert alike(counted(values), counted(values.double()))
