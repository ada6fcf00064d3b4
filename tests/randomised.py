"""Networks of random numbers that hide nothing: statistics, affine parameters, biases, in float64.

A fresh network has means 0, variances 1, offsets 0 and layer scales near 0, so that a removal that
leaks through batch norm goes unseen. Here each batch norm gets the statistics of its own input, so
that signals stay alive in deep networks, and those are then shifted and stretched at random.
"""

import torch
from torch import Tensor, nn

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def randomise(network: nn.Module, x: Tensor, seed: int = 0) -> nn.Module:
    """The network in float64 and evaluation mode, all its small parameters random and seeded."""
    network.double()
    numbers = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            _affine(module, numbers)
        _calibrate(network, x.double())
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                mean, var = module.running_mean, module.running_var
                mean += 0.5 * var.sqrt() * _normal(mean, numbers)
                var *= _between(0.5, 2.0, var, numbers)
    return network.eval().requires_grad_(False)


def _affine(module: nn.Module, numbers: torch.Generator) -> None:
    if isinstance(module, NORMS) and module.weight is not None:
        module.weight.copy_(_between(0.5, 1.5, module.weight, numbers))
        if getattr(module, "bias", None) is not None:
            module.bias.copy_(0.5 * _normal(module.bias, numbers))
    elif isinstance(module, nn.PReLU):
        module.weight.copy_(_between(0.1, 0.5, module.weight, numbers))
    elif getattr(module, "bias", None) is not None:
        module.bias.copy_(0.2 * _normal(module.bias, numbers))
    if getattr(module, "layer_scale", None) is not None:
        module.layer_scale.copy_(_between(0.5, 1.5, module.layer_scale, numbers))


def _calibrate(network: nn.Module, x: Tensor) -> None:
    """Each batch norm's statistics become those of what it reads."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train()
            module.momentum = 1.0
        else:
            module.training = False
    network(x)


def _normal(like: Tensor, numbers: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=numbers, dtype=like.dtype)


def _between(low: float, high: float, like: Tensor, numbers: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(like.shape, generator=numbers, dtype=like.dtype)
