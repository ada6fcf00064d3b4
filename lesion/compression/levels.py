"""Quantisers with few levels that are no equal steps: binary, ternary, powers of two, DoReFa."""

import torch
from torch import Tensor

from lesion.compression.uniform import Per


def binary(weight: Tensor, order: int = 1, per: Per = "channel") -> Tensor:
    """The weight as a sum of so many scaled signs, each of what is left by those before it.

    Order 1: α·sign(w) with α = mean |w| (Rastegari et al. 2016, "BWN"), sign(0) being +1; more:
    residual binarisation (Li et al. 2017, "HORQ"; Guo et al. 2017, "network sketching").

    >>> w = torch.tensor([[1.0, -2.0, 3.0, 0.5]])
    >>> binary(w), float((binary(w) - w).square().sum())
    (tensor([[ 1.6250, -1.6250,  1.6250,  1.6250]]), 3.6875)
    >>> binary(w, 2), float((binary(w, 2) - w).square().sum())
    (tensor([[ 0.7500, -2.5000,  2.5000,  0.7500]]), 0.625)
    """
    left = _rows(weight, per)
    total = torch.zeros_like(left)
    for _ in range(order):
        term = left.abs().mean(1, keepdim=True) * torch.where(left >= 0, 1.0, -1.0)
        total, left = total + term, left - term
    return total.reshape_as(weight).to(weight)


def ternary(weight: Tensor, threshold: float = 0.7, per: Per = "channel") -> Tensor:
    """The weight as −α, 0 or α: 0 where |w| ≤ Δ = threshold · mean |w|, α the mean of the other
    |w| (Li et al. 2016, "TWN", equations 4 and 6; threshold 0.7 there and in the authors' code,
    0.75 in arXiv's version 3).

    >>> ternary(torch.tensor([[1.0, -2.0, 3.0, 0.5]]))
    tensor([[ 0.0000, -2.5000,  2.5000,  0.0000]])
    >>> w = torch.tensor([[0.72, -1.28]])
    >>> ternary(w), ternary(w, 0.75)
    (tensor([[ 1., -1.]]), tensor([[ 0.0000, -1.2800]]))
    """
    rows = _rows(weight, per)
    size = rows.abs()
    large = size > threshold * size.mean(1, keepdim=True)
    alpha = (size * large).sum(1, keepdim=True) / large.sum(1, keepdim=True).clamp_min(1)
    return (alpha * rows.sign() * large).reshape_as(weight).to(weight)


def power_of_two(weight: Tensor, bits: int) -> Tensor:
    """The weight as 0 or ± a power of two, of 2^(bits − 1) + 1 levels at most (Zhou et al. 2017,
    "INQ", equations 1 to 4, without its retraining).

    The largest power is 2^n₁ with n₁ = ⌊log₂(4 max |w| / 3)⌋, the smallest 2^n₂ with
    n₂ = n₁ + 1 − 2^(bits − 2); β is taken from ¾ β to 3/2 β, the smallest from β / 2.

    >>> power_of_two(torch.tensor([[0.9, -0.7, 0.3, -0.2, 0.1]]), 3)
    tensor([[ 1.0000, -0.5000,  0.5000, -0.0000,  0.0000]])
    """
    wide = weight.double()
    size = wide.abs()
    largest = size.max()
    if largest == 0:
        return weight.clone()
    top = torch.floor(torch.log2(4 * largest / 3))
    least = top + 1 - 2 ** (bits - 2)
    exponent = torch.floor(torch.log2(4 * size.clamp_min(2.0**-1000) / 3)).clamp_min(least)
    levels = torch.where(size >= 2 ** (least - 1), 2**exponent, 0.0)
    return (wide.sign() * levels).to(weight)


def dorefa(weight: Tensor, bits: int) -> Tensor:
    """The weight in equal steps from −1 to 1, as DoReFa-Net has it in its forward passes:
    2·q(tanh w / (2 max |tanh w|) + ½) − 1, q rounding to 2^bits levels (Zhou et al. 2016,
    equation 9).  It changes the weight's scale: batch norm behind it has to be estimated anew.

    >>> dorefa(torch.tensor([[-1.0, -0.4, 0.2, 0.7]]), 2)
    tensor([[-1.0000, -0.3333,  0.3333,  1.0000]])
    """
    squashed, steps = weight.double().tanh(), 2**bits - 1
    largest = squashed.abs().max()
    if largest == 0:
        return weight.clone()
    unit = squashed / (2 * largest) + 0.5
    rounded: Tensor = torch.round(unit * steps) / steps
    return (2 * rounded - 1).to(weight)


def _rows(weight: Tensor, per: Per) -> Tensor:
    """In double precision, a row of each filter or one of all."""
    return weight.double().reshape(len(weight) if per == "channel" else 1, -1)
