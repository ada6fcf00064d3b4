"""Ranks by variational Bayes: planted ones, and the free energy by its definition."""

import numpy as np
import pytest
import torch

from lesion.compression.factors import of_rank
from lesion.compression.vbmf import of_weakened_rank, vbmf_rank, weakened_ranks


def planted(seed, rank, shape, signal, noise):
    generator = torch.Generator().manual_seed(seed)
    left, right, rest = (
        torch.randn(*size, generator=generator, dtype=torch.float64)
        for size in ((shape[0], rank), (rank, shape[1]), shape)
    )
    return signal * left @ right + noise * rest


def by_definition(matrix):
    """Rank by the free energy of Nakajima et al. 2013 (equations 22 to 30), over a plain grid."""
    matrix = np.asarray(matrix)
    matrix = matrix if len(matrix) <= len(matrix.T) else matrix.T
    (short, long), sizes = matrix.shape, np.linalg.svd(matrix, compute_uv=False)
    alpha = short / long
    taus = np.linspace(1e-6, 3, 300_000)
    phi = [np.log(z + 1) / z - 0.5 for z in (taus, taus / alpha)]
    tau = taus[np.argmin(np.abs(phi[0] + phi[1]))]
    least = (1 + tau) * (1 + alpha / tau)
    best, rank = np.inf, -1
    for variance in np.geomspace(1e-9, 2, 5_000) * (sizes**2).sum() / (short * long):
        x = sizes**2 / (long * variance)
        shifted = x[x > least] - (1 + alpha)
        of = (shifted + np.sqrt(shifted**2 - 4 * alpha)) / 2
        gain = np.log(of + 1) + alpha * np.log(of / alpha + 1) - of
        energy = np.sum(x - np.log(x)) + np.sum(gain)
        if energy < best:
            best, rank = energy, int((x > least).sum())
    return rank


@pytest.mark.parametrize("noise", [0.1, 0.5, 1.0, 2.0])
def test_two_components_in_noise(noise):
    assert [vbmf_rank(planted(seed, 2, (30, 80), 2.0, noise)) for seed in range(20)] == [2] * 20


def test_mere_noise_has_none():
    ranks = [vbmf_rank(planted(seed, 2, (30, 80), 0.0, 1.0)) for seed in range(100)]
    assert ranks == [0] * 100


@pytest.mark.parametrize("rank", [1, 2, 3, 4, 5])
def test_planted_ranks(rank):
    """None is ever missed; one too many, of the noise, is rare, and none of these draws has it."""
    shapes = [(20, 20), (40, 24), (17, 90)]
    ranks = [vbmf_rank(planted(seed, rank, shape, 3.0, 0.1)) for seed in range(20)
             for shape in shapes]  # fmt: skip
    assert set(ranks) == {rank}


@pytest.mark.parametrize("scale", [0.01, 0.7, 100.0])
def test_scale_and_transposition_are_nothing(scale):
    for seed in range(30):
        matrix = planted(seed, 3, (20, 31), 0.4, 1.0)
        assert vbmf_rank(scale * matrix) == vbmf_rank(matrix) == vbmf_rank(matrix.T)


@pytest.mark.parametrize("signal", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(10, 10), (12, 40), (50, 20)])
def test_the_free_energy_by_its_definition(shape, signal):
    for seed in range(3):
        matrix = planted(seed, 4, shape, signal, 1.0)
        assert vbmf_rank(matrix) == by_definition(matrix)


def test_without_noise_and_without_anything():
    assert vbmf_rank(planted(0, 2, (30, 80), 1.0, 0.0)) == 2
    assert vbmf_rank(torch.zeros(3, 5)) == 0
    assert vbmf_rank(torch.ones(1, 9)) == 0  # one row is as well noise
    assert vbmf_rank(torch.ones(1, 1)) == 0


def test_weakened_ranks_go_from_full_to_those_found():
    """Two of 12 filters' directions and three of 10 inputs', planted; mere noise is kept at one."""
    generator = torch.Generator().manual_seed(1)
    core = torch.randn(2, 3, 3, 3, generator=generator)
    on = [torch.randn(12, 2, generator=generator), torch.randn(10, 3, generator=generator)]
    weight = torch.einsum("oixy,no,ci->ncxy", core, *on)
    weight = weight + 0.02 * torch.randn(weight.shape, generator=generator)
    assert weakened_ranks(weight, "tucker2", 1.0) == (3, 2)
    assert weakened_ranks(weight, "tucker2", 0.5) == (6, 7)  # of (10, 12); 6.5 rounds to even
    assert weakened_ranks(weight, "svd", 1.0) == (2,)
    found = of_weakened_rank(weight, "tucker2", 1.0)
    assert torch.equal(found, of_rank(weight, "tucker2", (3, 2)))
    noise = torch.randn(12, 10, 3, 3, generator=generator)
    assert weakened_ranks(noise, "tucker2", 1.0) == (1, 1)
