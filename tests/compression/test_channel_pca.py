"""Responses on their principal directions: by hand, by numpy, and by what they are least of."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lesion.compression.channel_pca import PART, Projection, Responses
from lesion.errors import LesionError


def numbers_of(rows):
    seen = Responses()
    seen.add(rows)
    return seen.numbers()


def layer(seed=0, filters=6, reads=9, rows=200):
    """A linear layer's weight and bias, what it reads, and what it gives."""
    numbers = torch.Generator().manual_seed(seed)
    made = [torch.randn(*shape, generator=numbers, dtype=torch.float64)
            for shape in ((filters, reads), (filters,), (rows, reads))]  # fmt: skip
    weight, bias, x = made
    return weight, bias, x.abs(), x.abs() @ weight.T + bias


def test_a_layer_by_hand():
    """Responses around (1, 2): five to both sides along (3, 4) / 5, one along (−4, 3) / 5."""
    away = torch.tensor([[3.0, 4.0], [-3.0, -4.0], [-0.8, 0.6], [0.8, -0.6]])
    rows = torch.tensor([1.0, 2.0]) + away.repeat(3, 1)
    onto = Projection.of(numbers_of(rows), 2, 1)
    weight = torch.eye(2)
    assert torch.allclose(onto.weight(weight), torch.tensor([[0.36, 0.48], [0.48, 0.64]]))
    # Q Qᵀ (1, 2) is (1.32, 1.76)
    assert torch.allclose(onto.bias(None), torch.tensor([-0.32, 0.24]).double())
    given_bias = onto.bias(torch.tensor([5.0, 0.0]))  # Q Qᵀ (5, 0) is (1.8, 2.4)
    assert torch.allclose(given_bias, torch.tensor([1.48, 2.64]).double())


def test_they_are_what_numpy_says():
    weight, bias, _, given_rows = layer()
    y = given_rows.numpy()
    values, vectors = np.linalg.eigh(np.cov(y.T, bias=True))
    assert (np.diff(values) > 0).all()
    for rank in (1, 3, 5):
        q = vectors[:, ::-1][:, :rank]
        onto = Projection.of(numbers_of(given_rows), 6, rank)
        assert np.allclose(onto.weight(weight), q @ q.T @ weight.numpy(), atol=1e-12)
        wanted = q @ q.T @ bias.numpy() + (np.eye(6) - q @ q.T) @ y.mean(0)
        assert np.allclose(onto.bias(bias), wanted, atol=1e-12)


def test_the_squared_error_is_the_sum_of_the_eigenvalues_left_out():
    weight, bias, x, y = layer(1)
    values = np.linalg.eigvalsh(np.cov(y.numpy().T, bias=True))
    for rank in range(1, 7):
        onto = Projection.of(numbers_of(y), 6, rank)
        off = x @ onto.weight(weight).T + onto.bias(bias) - y
        error = float(off.square().sum(1).mean())
        assert error == pytest.approx(values[: 6 - rank].sum(), rel=1e-9, abs=1e-12)
        left, sizes, right = torch.linalg.svd(weight, full_matrices=False)
        best = (left[:, :rank] * sizes[:rank]) @ right[:rank]
        assert error <= float((x @ best.T + bias - y).square().sum(1).mean()) + 1e-12


def test_full_rank_leaves_the_layer_as_it_is():
    weight, bias, _, y = layer(2)
    onto = Projection.of(numbers_of(y), 6, 6)
    assert torch.allclose(onto.weight(weight), weight, atol=1e-12)
    assert torch.allclose(onto.bias(bias), bias, atol=1e-12)


def test_factors_of_a_convolution_compose_its_weight():
    _, _, _, y = layer(3)
    weight = torch.randn(6, 4, 3, 3)
    onto = Projection.of(numbers_of(y), 6, 2)
    first, second = onto.factors(weight)
    assert (first.shape, second.shape) == ((2, 4, 3, 3), (6, 2))
    whole = (second @ first.flatten(1)).reshape(weight.shape)
    assert torch.allclose(whole.float(), onto.weight(weight), atol=1e-6)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.floats(0, 1e4))
def test_parts_change_nothing(sizes, level):
    rows = level + torch.randn(sum(sizes), 3, generator=torch.Generator().manual_seed(0)).double()
    seen = Responses()
    for part in rows.split(sizes):
        seen.add(part)
    assert seen.count == len(rows)
    assert np.allclose(seen.mean, rows.mean(0), rtol=1e-12)
    wanted = np.cov(rows.numpy().T, bias=True)
    assert np.allclose(seen.covariance, wanted, rtol=1e-9, atol=1e-9)


def test_more_rows_than_are_multiplied_at_once():
    rows = torch.randn(PART + 5, 2)
    wanted = np.cov(rows.double().numpy().T, bias=True)
    assert np.allclose(numbers_of(rows)[2:], wanted[np.triu_indices(2)])


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (torch.tensor([[1.0, float("nan")]] * 10), "gives on the calibration images is not finite"),
        (torch.randn(9, 2), "its 2 filters need 10 responses, but .* give 9: take more of them"),
        (torch.ones(10, 2), "gives the same everywhere"),
    ],
)
def test_what_has_no_directions_is_a_reason(rows, reason):
    with pytest.raises(LesionError, match=reason):
        numbers_of(rows)
