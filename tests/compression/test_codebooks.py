"""Codebooks against brute force, and what shares values by chance."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lesion.compression.codebooks import codebook, hashed, hashes, product

SEEDS = st.integers(0, 100_000)
FEW = st.lists(st.integers(-20, 20), min_size=1, max_size=9)


def error(weight, shared):
    return float((weight.double() - shared.double()).square().sum())


def least_error(points, values):
    """Over every division of the sorted points into intervals."""
    points = np.sort(np.array(points, float))
    values = min(values, len(points))
    return min(
        sum(((part - part.mean()) ** 2).sum() for part in np.split(points, cuts))
        for cuts in combinations(range(1, len(points)), values - 1)
    )


def test_two_clusters():
    weight = torch.tensor([0.0, 0.1, 0.9, 1.0])
    assert codebook(weight, 2).tolist() == pytest.approx([0.05, 0.05, 0.95, 0.95])


def test_equal_distances_leave_a_cluster_empty():
    weight = torch.tensor([0, 0.1, 0.2, 0.3, 0.4, 10])
    lloyd = codebook(weight, 3, "lloyd")
    assert lloyd.tolist() == pytest.approx([0.2] * 5 + [10])
    assert error(weight, lloyd) == pytest.approx(0.1)
    assert error(weight, codebook(weight, 3)) == pytest.approx(0.025)


@settings(max_examples=50)
@given(FEW, st.integers(1, 6))
def test_no_clustering_is_better_than_the_best(points, values):
    weight = torch.tensor(points, dtype=torch.float64)
    found = codebook(weight, values)
    assert error(weight, found) == pytest.approx(least_error(points, values), abs=1e-9)
    assert len(found.unique()) <= values


@settings(max_examples=25)
@given(SEEDS, st.integers(1, 40))
def test_it_is_never_worse_than_lloyds(seed, values):
    weight = torch.randn(300, generator=torch.Generator().manual_seed(seed))
    best, lloyd = codebook(weight, values), codebook(weight, values, "lloyd")
    assert error(weight, best) <= error(weight, lloyd) * (1 + 1e-6)
    assert len(best.unique()) == values


@given(SEEDS)
def test_what_shares_values_already_stays(seed):
    weight = torch.randn(5, 4, 3, 3, generator=torch.Generator().manual_seed(seed))
    once = codebook(weight, 7)
    assert torch.equal(codebook(once, 7), once) and once.shape == weight.shape


def test_sub_vectors_have_a_codebook_for_each_run_of_inputs():
    weight = torch.randn(32, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    found = product(weight, 4, 16)
    for start in (0, 4):
        vectors = found[:, start : start + 4].permute(0, 2, 3, 1).reshape(-1, 4)
        assert len(vectors.unique(dim=0)) == 16
    assert error(weight, found) < error(weight, product(weight, 4, 4)) < error(weight, 0 * weight)
    assert torch.equal(product(weight, 4, 16, seed=0), found)
    assert not torch.equal(product(weight, 4, 16, seed=1), found)


def test_as_many_centroids_as_vectors_change_nothing():
    weight = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(product(weight, 2, 4), weight)


def test_hashed_weights_share_the_mean_of_their_bucket():
    found = hashed(torch.tensor([0.2, -0.4]), torch.tensor([0, 0]), torch.tensor([1.0, -1.0]))
    assert found.tolist() == pytest.approx([0.3, -0.3])


@given(SEEDS)
def test_no_other_value_of_a_bucket_fits_better(seed):
    weight = torch.randn(40, generator=torch.Generator().manual_seed(seed)).double()
    buckets, signs = hashes(weight.shape, 6, seed)
    found = hashed(weight, buckets, signs)
    for bucket in buckets.unique():
        inside = buckets == bucket
        fitted = torch.linalg.lstsq(signs[inside, None], weight[inside, None]).solution.item()
        assert torch.allclose(found[inside], signs[inside] * fitted)
    assert error(weight, found) >= error(weight, codebook(weight, 6)) - 1e-9
