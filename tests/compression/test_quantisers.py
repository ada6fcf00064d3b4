"""Quantisers: values that can be worked out by hand, and properties of any weight."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lesion.compression.levels import binary, dorefa, power_of_two, ternary
from lesion.compression.uniform import uniform

FOUR = torch.tensor([[-1.0, -0.4, 0.2, 0.7]])
THREE_HALVES = torch.tensor([[1.0, -2.0, 3.0, 0.5]])
SEEDS = st.integers(0, 100_000)
BITS = st.integers(2, 8)
PER = st.sampled_from(["channel", "tensor"])


def drawn(seed, *shape):
    return torch.randn(*(shape or (4, 3, 3, 3)), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("bits", "grid", "expected"),
    [
        (3, "symmetric", [-1, -1 / 3, 1 / 3, 2 / 3]),
        (2, "symmetric", [-1, 0, 0, 1]),
        (3, "full", [-0.857, -0.286, 0.286, 0.571]),
        (3, "signed", [-1.0, -0.5, 0.25, 0.75]),
        (2, "signed", [-0.7, -0.7, 0.0, 0.7]),
        (2, "asymmetric", [-1.1333, -0.5667, 0, 0.5667]),
    ],
)
def test_four_weights_on_each_grid(bits, grid, expected):
    assert uniform(FOUR, bits, grid)[0].tolist() == pytest.approx(expected, abs=6e-4)


def test_an_asymmetric_grid_is_torchs():
    scale = 1.7 / 3
    expected = torch.fake_quantize_per_tensor_affine(FOUR, scale, 2, 0, 3)
    torch.testing.assert_close(uniform(FOUR, 2, "asymmetric", "tensor"), expected)


@given(SEEDS, BITS, PER)
def test_steps_are_those_of_the_formula(seed, bits, per):
    weight = drawn(seed)
    found = uniform(weight, bits, "symmetric", per)
    m = 2 ** (bits - 1) - 1
    rows = weight.double().flatten(1) if per == "channel" else weight.double().reshape(1, -1)
    scale = rows.abs().amax(1, keepdim=True) / m
    expected = torch.clamp(torch.round(rows / scale), -m, m) * scale
    near = (rows / scale - torch.round(rows / scale)).abs() < 0.4999  # but for ties
    error = (found.reshape_as(rows).double() - expected).abs() / scale
    assert error[near].max() < 1e-4
    assert (found.reshape_as(rows) - rows).abs().max() <= 0.5001 * scale.max()


@given(SEEDS, BITS, PER)
def test_asymmetric_steps_are_those_of_the_formula(seed, bits, per):
    weight = drawn(seed) + 0.3
    found = uniform(weight, bits, "asymmetric", per)
    rows = weight.double().flatten(1) if per == "channel" else weight.double().reshape(1, -1)
    low, high = rows.amin(1, True).clamp(max=0), rows.amax(1, True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    zero = torch.round(-low / scale)
    place = rows / scale + zero
    expected = (torch.clamp(torch.round(place), 0, 2**bits - 1) - zero) * scale
    near = (place - torch.round(place)).abs() < 0.499
    assert ((found.reshape_as(rows).double() - expected).abs() / scale)[near].max() < 1e-3


@given(SEEDS, BITS, PER, st.sampled_from(["symmetric", "asymmetric"]))
def test_rounding_twice_is_rounding_once(seed, bits, per, grid):
    once = uniform(drawn(seed), bits, grid, per)
    torch.testing.assert_close(uniform(once, bits, grid, per), once, atol=1e-5, rtol=1e-5)


@given(SEEDS, PER)
def test_few_levels_are_kept_by_a_second_time(seed, per):
    weight = drawn(seed)
    for quantiser in (
        lambda w: binary(w, 1, per),
        lambda w: ternary(w, 0.7, per),
        lambda w: power_of_two(w, 4),
    ):
        once = quantiser(weight)
        torch.testing.assert_close(quantiser(once), once)


@settings(max_examples=25)
@given(SEEDS, BITS, st.sampled_from(["symmetric", "asymmetric", "full", "signed"]), PER)
def test_clipping_by_the_error_has_no_more_of_it(seed, bits, grid, per):
    weight = drawn(seed)
    largest, best = (
        float((uniform(weight, bits, grid, per, clip).double() - weight.double()).square().sum())
        for clip in ("max", "mse")
    )
    assert best <= largest * (1 + 1e-6)


def test_signals_over_noise_of_normal_numbers():
    weight = drawn(0, 1, 200_000)
    noise = {bits: uniform(weight, bits, per="tensor") - weight for bits in (2, 3, 4, 6, 8)}
    ratio = {
        bits: float(10 * torch.log10(weight.square().mean() / error.square().mean()))
        for bits, error in noise.items()
    }
    # max clipping destroys at two bits, and the error is s² / 12 from three bits up
    assert ratio[2] < 1 < 6 < ratio[3] < ratio[4] < ratio[6] < ratio[8]
    for bits in (4, 6, 8):
        scale = float(weight.abs().max()) / (2 ** (bits - 1) - 1)
        assert float(noise[bits].square().mean()) == pytest.approx(scale**2 / 12, rel=0.02)


def test_percentiles_clip_outliers():
    weight = torch.cat([torch.linspace(-1, 1, 999), torch.tensor([100.0])])[None]
    clipped = uniform(weight, 4, clip="percentile", percentile=99.0)
    assert clipped.max() < 1.1 and uniform(weight, 4).max() == pytest.approx(100)
    assert uniform(weight, 4)[0, :999].abs().max() == 0


@pytest.mark.parametrize("grid", ["symmetric", "asymmetric", "full", "signed"])
@pytest.mark.parametrize("clip", ["max", "percentile", "mse"])
def test_zeros_stay_zero(grid, clip):
    weight = drawn(3) + 1
    weight[0] = 0
    weight[1, 0] = 0
    found = uniform(weight, 3, grid, "channel", clip)
    assert found[0].abs().max() == 0 and found[1, 0].abs().max() < 1e-7
    assert torch.isfinite(found).all()


@given(SEEDS, BITS)
def test_symmetric_steps_of_each_filter_pass_through_factors(seed, bits):
    """So quantising folded weights is folding quantised ones, for negative factors too."""
    weight = drawn(seed).double()
    factors = drawn(seed + 1, 4, 1, 1, 1).double()
    folded = uniform(weight * factors, bits)
    unfolded = uniform(weight, bits) * factors
    scale = (weight * factors).abs().amax((1, 2, 3), keepdim=True) / (2 ** (bits - 1) - 1)
    place = weight / weight.abs().amax((1, 2, 3), keepdim=True) * (2 ** (bits - 1) - 1)
    near = (place - torch.round(place)).abs() < 0.4999
    assert ((folded - unfolded).abs() / scale)[near].max() < 1e-4


def test_steps_of_all_filters_do_not_pass_through_factors():
    weight, factors = drawn(0), torch.tensor([0.1, 1, 3, -2]).reshape(4, 1, 1, 1)
    folded = uniform(weight * factors, 4, per="tensor")
    assert (folded - uniform(weight, 4, per="tensor") * factors).abs().max() > 0.05


def test_signs_with_a_factor():
    assert binary(torch.tensor([[1.0, -2.0, 3.0]])).tolist() == [[2, -2, 2]]
    assert binary(torch.tensor([[0.0, -1.0]])).tolist() == [[0.5, -0.5]]  # sign(0) is +1
    errors = [float((binary(THREE_HALVES, m) - THREE_HALVES).square().sum()) for m in (1, 2)]
    assert errors == pytest.approx([3.6875, 0.625])
    assert binary(THREE_HALVES, 2).tolist() == [[0.75, -2.5, 2.5, 0.75]]


@given(SEEDS, st.integers(1, 4), PER)
def test_every_term_more_lessens_the_error(seed, order, per):
    weight = drawn(seed)
    one, more = (
        (binary(weight, m, per).double() - weight.double()).square().sum()
        for m in (order, order + 1)
    )
    assert more < one


def test_three_levels():
    assert ternary(THREE_HALVES).tolist() == [[0, -2.5, 2.5, 0]]
    weight = torch.tensor([[0.72, -1.28]])
    assert ternary(weight, 0.7)[0].tolist() == pytest.approx([1, -1])
    assert ternary(weight, 0.75)[0].tolist() == pytest.approx([0, -1.28])
    assert ternary(torch.zeros(2, 3)).abs().sum() == 0


def test_powers_of_two():
    weight = torch.tensor([[0.9, -0.7, 0.3, -0.2, 0.1]])
    assert power_of_two(weight, 3).tolist() == [[1, -0.5, 0.5, 0, 0]]
    assert power_of_two(torch.zeros(1, 3), 3).abs().sum() == 0


@given(SEEDS, st.integers(2, 6))
def test_powers_of_two_are_few(seed, bits):
    found = power_of_two(drawn(seed), bits)
    assert len(found.unique()) <= 2 ** (bits - 1) + 1
    logs = found[found != 0].abs().log2()
    assert torch.equal(logs, logs.round())


def test_dorefa_goes_from_minus_one_to_one():
    assert dorefa(FOUR, 2)[0].tolist() == pytest.approx([-1, -1 / 3, 1 / 3, 1])
    assert len(dorefa(drawn(0), 2).unique()) == 4
