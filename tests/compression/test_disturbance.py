"""Noise, shuffling and drawing anew: how much, and that the seed alone decides."""

import pytest
import torch
from torch import nn

from lesion.compression.disturbance import noisy, rerandomised, shuffled

WEIGHT = torch.randn(40, 20, 3, 3, generator=torch.Generator().manual_seed(0)) * 0.3 + 0.1


def test_noise_is_as_large_as_it_is_told():
    for sigma in (0.1, 1.0):
        added = noisy(WEIGHT, sigma, seed=3) - WEIGHT
        assert float(added.std() / WEIGHT.std()) == pytest.approx(sigma, rel=0.02)
    small, large = (noisy(WEIGHT, sigma, seed=3) - WEIGHT for sigma in (0.5, 1.0))
    torch.testing.assert_close(2 * small, large, atol=1e-6, rtol=1e-4)


def test_shuffling_keeps_the_numbers():
    found = shuffled(WEIGHT, 1.0, seed=1)
    assert torch.equal(found.flatten().sort()[0], WEIGHT.flatten().sort()[0])
    assert float((found == WEIGHT).float().mean()) < 0.01
    half = shuffled(WEIGHT, 0.5, seed=1)
    assert float((half == WEIGHT).float().mean()) == pytest.approx(0.5, abs=0.01)
    assert torch.equal(half.flatten().sort()[0], WEIGHT.flatten().sort()[0])


def test_drawing_anew_is_what_torch_draws():
    layer = nn.Conv2d(20, 40, 3)
    found, bound = rerandomised(WEIGHT, 1.0, seed=1), 180**-0.5
    assert found.abs().max() <= bound and layer.weight.abs().max() <= bound
    assert float(found.std()) == pytest.approx(float(layer.weight.detach().std()), rel=0.05)
    part = rerandomised(WEIGHT, 0.25, seed=1)
    assert float((part != WEIGHT).float().mean()) == pytest.approx(0.25, abs=1e-3)


@pytest.mark.parametrize(
    "disturbed", [lambda seed: noisy(WEIGHT, 0.1, seed), lambda seed: shuffled(WEIGHT, 0.5, seed),
                  lambda seed: rerandomised(WEIGHT, 0.5, seed)],
)  # fmt: skip
def test_the_seed_alone_decides(disturbed):
    before = WEIGHT.clone()
    assert torch.equal(disturbed(1), disturbed(1)) and not torch.equal(disturbed(1), disturbed(2))
    assert torch.equal(WEIGHT, before)
