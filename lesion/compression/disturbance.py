"""Weights that are disturbed or reset: what a layer's training is worth, and a smooth control."""

import torch
from torch import Tensor


def noisy(weight: Tensor, sigma: float, seed: int = 0) -> Tensor:
    """The weight with normal noise of `sigma` times its standard deviation (of all its numbers,
    unbiased)."""
    drawn = torch.randn(weight.shape, generator=_generator(seed), dtype=torch.float64)
    wide = weight.double()
    return (wide + sigma * wide.std() * drawn.to(weight.device)).to(weight)


def shuffled(weight: Tensor, share: float = 1.0, seed: int = 0) -> Tensor:
    """The weight with a share of its numbers, drawn at random, in a random order."""
    places = _drawn(weight, share, seed)
    flat = weight.flatten().clone()
    generator = _generator(seed + 1)
    flat[places] = flat[places[torch.randperm(len(places), generator=generator)]]
    return flat.reshape_as(weight)


def rerandomised(weight: Tensor, share: float = 1.0, seed: int = 0) -> Tensor:
    """The weight (N, C, …) with a share of its numbers drawn anew, as before training: uniform to
    ± 1 / √(C·k²), as `reset_parameters` of torch's layers (Zhang et al. 2022, "Are all layers
    created equal?")."""
    places = _drawn(weight, share, seed)
    drawn = torch.rand(len(places), generator=_generator(seed + 1), dtype=torch.float64)
    flat = weight.flatten().clone()
    flat[places] = ((2 * drawn - 1) / weight[0].numel() ** 0.5).to(weight)
    return flat.reshape_as(weight)


def _drawn(weight: Tensor, share: float, seed: int) -> Tensor:
    """The places of a share of the weights, rounded to the nearest number of them."""
    order = torch.randperm(weight.numel(), generator=_generator(seed))
    return order[: round(share * weight.numel())].to(weight.device)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
