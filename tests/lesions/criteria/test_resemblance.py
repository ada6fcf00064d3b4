"""dpp and noiseout: published examples by hand, and brute force."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lesion.lesions.criteria import Filters
from lesion.lesions.criteria.dpp import DPP, greedy_order, kernel
from lesion.lesions.criteria.noiseout import NoiseOut, removal_order


def scores(chosen, rows, batches=1):
    """The scores of a criterion that has seen rows (images, filters), in so many batches."""
    for part in torch.as_tensor(rows).chunk(batches):
        chosen.update("fc", part[:, :, None], None)
    return chosen.scores(Filters("fc", torch.zeros(rows.shape[1], 1), None, 0))


def drawn(seed, images=30, filters=6):
    numbers = torch.Generator().manual_seed(seed)
    return torch.randn(images, filters, generator=numbers, dtype=torch.float64) * 0.3


def similarities(rows):
    """exp(−10 / rows · distance²) between filters, and 0.01 more with themselves."""
    apart = ((rows[:, :, None] - rows[:, None]) ** 2).sum(0)
    return np.exp(-10 / len(rows) * apart) + 0.01 * np.eye(rows.shape[1])


def diverse(rows):
    """The scores of filters, one after the other chosen by determinants."""
    matrix, chosen = similarities(rows), [int((rows**2).sum(0).argmax())]
    while len(chosen) < len(matrix):
        left = [filter_ for filter_ in range(len(matrix)) if filter_ not in chosen]
        sets = [np.ix_([*chosen, filter_], [*chosen, filter_]) for filter_ in left]
        chosen.append(left[int(np.argmax([np.linalg.det(matrix[each]) for each in sets]))])
    return len(matrix) - np.argsort(chosen)


def uncorrelated(rows):
    """The places of filters in an order of removal, pair after pair."""
    strength = np.abs(np.corrcoef(rows.T)).reshape(rows.shape[1], -1)
    left, order = list(range(len(strength))), []
    while len(left) > 1:
        pair = max(combinations(left, 2), key=lambda both: strength[both])
        order.append(min(pair, key=lambda filter_: rows[:, filter_].var()))
        left.remove(order[-1])
    return np.argsort([*order, *left])


def test_two_equal_neurons_never_stay_together():
    """Of two equal ones and another: the pair has probability 0, the mixed pairs a half each."""
    rows = np.array([[1.0, 1.0, 0.0], [2.0, 2.0, -1.0], [0.5, 0.5, 3.0]])
    exact = kernel(torch.as_tensor(rows.T @ rows) / 3, jitter=0.0).numpy()
    sizes = {pair: np.linalg.det(exact[np.ix_(pair, pair)]) for pair in combinations(range(3), 2)}
    whole = sum(sizes.values())
    assert [sizes[pair] / whole for pair in sorted(sizes)] == pytest.approx([0, 0.5, 0.5])
    kept = scores(DPP(), rows).argsort(descending=True)[:2]
    assert 2 in kept.tolist()


@given(st.integers(0, 10_000), st.integers(1, 7))
def test_dpp_adds_what_makes_the_determinant_largest(seed, filters):
    rows = drawn(seed, filters=filters).numpy()
    made = scores(DPP(), rows, batches=3)
    assert sorted(made.tolist()) == list(range(1, filters + 1))
    assert made.tolist() == diverse(rows).tolist()


def test_a_matrix_of_less_than_full_rank_has_an_order():
    assert sorted(greedy_order(torch.ones(4, 4), 2).tolist()) == [0, 1, 2, 3]


def test_noiseout_golden():
    """v_j = 2 v_i + 1: the pair is found, and the one that varies less goes."""
    first, other = drawn(1, filters=2).T
    rows = torch.stack([other, 2 * first + 1, first], 1)
    assert scores(NoiseOut(), rows, batches=4).argmin() == 2


@given(st.integers(0, 10_000), st.integers(1, 7))
def test_noiseout_takes_the_most_correlated_pair_that_is_there(seed, filters):
    rows = drawn(seed, filters=filters).numpy()
    assert scores(NoiseOut(), rows, batches=3).tolist() == uncorrelated(rows).tolist()


def test_what_never_varies_goes_first():
    rows = drawn(2, filters=4)
    rows[:, 1], rows[:, 3] = 5.0, 0.0
    assert set(scores(NoiseOut(), rows).argsort()[:2].tolist()) == {1, 3}
    assert removal_order(torch.zeros(3, 3)).tolist() == [0, 1, 2]
