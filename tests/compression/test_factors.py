"""Low rank: the composed weight against layers that are really factored."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import conv2d, linear

from lesion.compression.factors import (
    composed,
    composed_cp,
    composed_spatial,
    composed_tucker2,
    cp,
    spatial,
    svd,
    tucker2,
)

SEEDS = st.integers(0, 100_000)


def drawn(seed, *shape):
    numbers = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=numbers, dtype=torch.float64)


def error(weight, other):
    return float((weight - other).square().sum())


def test_the_best_matrix_of_rank_one():
    weight = torch.tensor([[3.0, 0.0], [4.0, 5.0]])
    found = composed(*svd(weight, 1))
    torch.testing.assert_close(found.float(), torch.tensor([[1.5, 1.5], [4.5, 4.5]]))
    assert error(weight.double(), found) == pytest.approx(5)


@given(SEEDS, st.integers(1, 6))
def test_what_is_dropped_is_the_error(seed, rank):
    weight = drawn(seed, 6, 3, 2, 3)
    sizes = torch.linalg.svdvals(weight.flatten(1))
    assert error(weight, composed(*svd(weight, rank))) == pytest.approx(
        float(sizes[rank:].square().sum()), abs=1e-9
    )
    unfolded = torch.linalg.svdvals(weight.permute(1, 2, 0, 3).reshape(6, 18))
    assert error(weight, composed_spatial(*spatial(weight, rank))) == pytest.approx(
        float(unfolded[rank:].square().sum()), abs=1e-9
    )


def test_a_separable_kernel_has_rank_one():
    sobel = torch.tensor([[[[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]]]])
    assert error(sobel.double(), composed_spatial(*spatial(sobel, 1))) < 1e-24


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, 1])
def test_factored_convolutions_give_what_the_composed_weight_gives(stride, padding):
    weight, x = drawn(0, 8, 6, 3, 3), drawn(1, 2, 6, 9, 9)
    s, p = stride, padding

    first, second = svd(weight, 3)
    factored = conv2d(conv2d(x, first, stride=s, padding=p), second[..., None, None])
    torch.testing.assert_close(factored, conv2d(x, composed(first, second), stride=s, padding=p))

    vertical, horizontal = spatial(weight, 4)
    between = conv2d(x, vertical, stride=(s, 1), padding=(p, 0))
    factored = conv2d(between, horizontal, stride=(1, s), padding=(0, p))
    whole = composed_spatial(vertical, horizontal)
    torch.testing.assert_close(factored, conv2d(x, whole, stride=s, padding=p))

    inputs, core, filters = tucker2(weight, 3, 5)
    between = conv2d(conv2d(x, inputs[..., None, None]), core, stride=s, padding=p)
    factored = conv2d(between, filters[..., None, None])
    whole = composed_tucker2(inputs, core, filters)
    torch.testing.assert_close(factored, conv2d(x, whole, stride=s, padding=p))

    inputs, rows, columns, filters = cp(weight, 4)
    between = conv2d(x, inputs[..., None, None])
    between = conv2d(between, rows[:, None, :, None], stride=(s, 1), padding=(p, 0), groups=4)
    between = conv2d(between, columns[:, None, None], stride=(1, s), padding=(0, p), groups=4)
    factored = conv2d(between, filters[..., None, None])
    whole = composed_cp(inputs, rows, columns, filters)
    torch.testing.assert_close(factored, conv2d(x, whole, stride=s, padding=p))


def test_a_factored_linear_layer():
    weight, x = drawn(0, 7, 5), drawn(1, 3, 5)
    first, second = svd(weight, 2)
    torch.testing.assert_close(linear(linear(x, first), second), linear(x, composed(first, second)))


@settings(max_examples=20)
@given(SEEDS)
def test_iterating_is_never_worse_than_the_first_bases(seed):
    weight = drawn(seed, 8, 6, 3, 3)
    cube = weight.flatten(2)
    filters = torch.linalg.svd(cube.flatten(1))[0][:, :4]
    inputs = torch.linalg.svd(cube.movedim(1, 0).flatten(1))[0][:, :3]
    core = torch.einsum("nckl,no,ci->oikl", weight, filters, inputs)
    first = composed_tucker2(inputs.T, core, filters)
    found = composed_tucker2(*tucker2(weight, 3, 4))
    assert error(weight, found) <= error(weight, first) + 1e-9
    assert torch.linalg.matrix_rank(found.flatten(1)) <= 4


def test_full_ranks_change_nothing():
    weight = drawn(0, 4, 5, 3, 3)
    for whole in (
        composed(*svd(weight, 4)),
        composed_spatial(*spatial(weight, 12)),
        composed_tucker2(*tucker2(weight, 5, 4)),
    ):
        torch.testing.assert_close(whole, weight)


def test_a_sum_of_products_is_found_again():
    parts = [drawn(seed, size, 2) for seed, size in enumerate((6, 5, 3, 3))]
    weight = torch.einsum("nr,cr,hr,wr->nchw", *parts)
    found = composed_cp(*cp(weight, 2))
    assert error(weight, found) < 1e-4 * float(weight.square().sum())
