"""Sparsity of every grain: which weights fall."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from lesion.compression.footprint import Shape
from lesion.compression.grains import block_diagonal, group_scores, n_of_m, sparse

GRAINS = ("weight", "vector", "kernel", "position", "column", "input_channel", "filter")


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_smallest_weights_fall():
    weight = torch.tensor([[0.1, -0.4, 0.2, 0.3]])
    expected = torch.tensor([[0.0, -0.4, 0.0, 0.3]])
    assert torch.equal(sparse(weight, "weight", 2), expected)
    assert torch.equal(sparse(weight, "weight", 2, "square"), expected)


def test_columns_are_judged_over_all_filters():
    filters = torch.tensor([[[[3.0, 0.0], [0.0, 1.0]]], [[[4.0, 0.0], [1.0, 1.0]]]])
    norms = group_scores(filters, "column", "square").sqrt()
    assert norms.tolist() == pytest.approx([5, 0, 1, 2**0.5])
    assert sparse(filters, "column", 2, "square").tolist() == [
        [[[3, 0], [0, 1]]], [[[4, 0], [0, 1]]],
    ]  # fmt: skip


def group_of(weight, grain):
    """Every group of a grain as the set of its indices, by plain loops."""
    n, c, h, w = weight.shape
    keys = {
        "weight": lambda *i: i,
        "vector": lambda n, c, p, q: (n, c, p),
        "kernel": lambda n, c, p, q: (n, c),
        "position": lambda n, c, p, q: (p, q),
        "column": lambda n, c, p, q: (c, p, q),
        "input_channel": lambda n, c, p, q: (c,),
        "filter": lambda n, c, p, q: (n,),
    }
    found = {}
    for index in np.ndindex(n, c, h, w):
        found.setdefault(keys[grain](*index), []).append(index)
    return list(found.values())


@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize("score", ["abs", "square"])
def test_whole_groups_of_least_norm_fall(grain, score):
    weight = drawn(4, 3, 2, 3)
    every = group_of(weight, grain)
    kept = max(1, len(every) // 2)
    found = sparse(weight, grain, kept, score)
    power = 1 if score == "abs" else 2
    size = [sum(abs(float(weight[index])) ** power for index in group) for group in every]
    stay = set(sorted(range(len(every)), key=size.__getitem__)[len(every) - kept :])
    expected = torch.zeros_like(weight)
    for at in stay:
        for index in every[at]:
            expected[index] = weight[index]
    assert len(group_scores(weight, grain)) == len(every) == Shape(4, 3, (2, 3)).group_count(grain)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("grain", GRAINS)
def test_random_groups_follow_the_seed_alone(grain):
    weight = drawn(6, 5, 3, 3)
    first, again, other = (sparse(weight, grain, 3, "random", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(first != 0, sparse(weight * 0.1 + 1, grain, 3, "random", seed=1) != 0)


def test_random_groups_are_equally_likely():
    weight = torch.ones(2, 3, 1, 1)
    seen = sum(sparse(weight, "kernel", 2, "random", seed=seed) for seed in range(1200)) / 1200
    assert torch.allclose(seen, torch.full_like(seen, 1 / 3), atol=4 * (2 / 9 / 1200) ** 0.5)


def test_groups_of_a_convolution_have_columns_of_their_own():
    weight = torch.zeros(4, 1, 1, 2)
    weight[:2, 0, 0] = torch.tensor([1.0, 2.0])
    weight[2:, 0, 0] = torch.tensor([4.0, 3.0])
    shape = Shape(4, 1, (1, 2), groups=2)
    assert len(group_scores(weight, "column", groups=2)) == shape.group_count("column") == 4
    found = sparse(weight, "column", 2, groups=2)
    assert found[:2].abs().sum() == 0 and torch.equal(found[2:], weight[2:])


@given(st.integers(0, 10_000), st.integers(1, 24))
def test_single_weights_fall_as_in_torch(seed, fallen):
    layer = nn.Linear(5, 5)
    layer.weight.data = drawn(5, 5, seed=seed)
    expected = prune.l1_unstructured(layer, "weight", fallen).weight
    assert torch.equal(sparse(layer.weight_orig.data, "weight", 25 - fallen), expected)


def test_two_of_four_run_along_the_inputs():
    assert n_of_m(torch.tensor([[1.0, -3.0, 2.0, 0.5]]), 2, 4).tolist() == [[0, -3, 2, 0]]
    weight = drawn(3, 8, 3, 3)
    found = n_of_m(weight, 2, 4)
    rows = weight.permute(2, 3, 0, 1).reshape(-1, 4)
    expected = torch.zeros_like(rows)
    for row, values in enumerate(rows):
        best = values.abs().argsort()[2:]
        expected[row, best] = values[best]
    assert torch.equal(found.permute(2, 3, 0, 1).reshape(-1, 4), expected)


def test_inputs_that_are_no_multiple_are_filled_up():
    weight = torch.arange(1.0, 7.0).reshape(1, 6)
    assert n_of_m(weight, 2, 4).tolist() == [[0, 0, 3, 4, 5, 6]]
    assert n_of_m(weight, 1, 4).tolist() == [[0, 0, 0, 4, 0, 6]]


def test_groups_of_filters_read_their_own_inputs():
    grouped = nn.Conv2d(6, 4, 3, groups=2, bias=False)
    whole = block_diagonal(drawn(4, 6, 3, 3), 2)
    grouped.weight.data = torch.cat([whole[:2, :3], whole[2:, 3:]])
    x = drawn(2, 6, 5, 5, seed=1)
    torch.testing.assert_close(nn.functional.conv2d(x, whole), grouped(x))
