"""What layers read in few bits: goldens, torch's own operator, the least error of a search."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lesion.compression.tensors import Rounding, rounded, span
from lesion.compression.uniform import SHARES
from lesion.compression.value_counts import ValueCounts

FIVE = torch.tensor([0.0, 1.0, 2.0, 3.0, 100.0])
SEEDS = st.integers(0, 100_000)


def counted(values):
    counts = ValueCounts()
    counts.add(values)
    return counts


@pytest.mark.parametrize(("high", "expected"), [(100, [0, 0, 0, 0, 100]), (3, [0, 1, 2, 3, 3])])
def test_five_values_in_two_bits(high, expected):
    assert rounded(FIVE, 2, 0.0, high).tolist() == pytest.approx(expected, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(2, 16), st.floats(-5, 0), st.floats(0.1, 5))
def test_steps_are_torchs(seed, bits, low, high):
    x = 2 * torch.randn(200, generator=torch.Generator().manual_seed(seed))
    scale = (high - low) / (2**bits - 1)
    zero = int(torch.round(torch.tensor(-low / scale, dtype=torch.float64)))
    wanted = torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, 2**bits - 1)
    given_ = rounded(x, bits, low, high)
    assert torch.equal(given_, wanted)
    assert torch.equal(Rounding(bits, low, high)(x), wanted)
    assert len(given_.unique()) <= 2**bits
    assert rounded(torch.zeros(2), bits, low, high).tolist() == [0, 0]


def test_the_kind_of_number_stays():
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        assert rounded(FIVE.to(kind), 2, 0.0, 3.0).dtype == kind


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.integers(2, 8), st.booleans())
def test_the_least_error_is_that_of_the_best_share(seed, bits, rectified):
    x = torch.randn(3000, generator=torch.Generator().manual_seed(seed)) ** 3
    x = torch.relu(x) if rectified else x
    low, high = min(float(x.min()), 0), float(x.max())
    errors = {
        share: float((rounded(x, bits, share * low, share * high) - x).double().square().sum())
        for share in SHARES
    }
    found = span(counted(x), bits, "mse", 99.9)
    error = float((rounded(x, bits, *found) - x).double().square().sum())
    assert found[1] / high in [pytest.approx(share) for share in SHARES]
    assert error <= 1.02 * min(errors.values())


def test_ranges_hold_zero_whatever_is_read():
    for values in (FIVE + 1, -FIVE - 1):
        for clip in ("max", "percentile", "mse"):
            low, high = span(counted(values), 4, clip, 99.0)
            assert low <= 0 <= high and low < high


def test_more_bits_share_the_range_but_where_the_error_counts():
    counts = counted(torch.randn(5000, generator=torch.Generator().manual_seed(0)))
    for clip in ("max", "percentile"):
        assert len({span(counts, bits, clip, 99.0) for bits in range(2, 17)}) == 1
    widths = [span(counts, bits, "mse", 99.0)[1] for bits in (2, 3, 4, 6, 8)]
    assert widths == sorted(widths) and len({*widths}) > 3
