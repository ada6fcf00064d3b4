"""Weights of low rank: the factors that layers can be made of, and the weight that they compose.

A factored layer, strides and paddings included, gives what the composed weight gives in the layer's
place.  Weights are (N, C, …); everything is worked out in double precision.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

ROUNDS, ENOUGH = 200, 1e-10  # of alternating least squares, and of change, relative
STARTS = 3


def svd(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """A layer of `rank` filters with the whole kernel, and one of 1×1 behind it: (r, C, …), (N, r).

    The best of that rank for the matrix N × C·k² (Eckart & Young 1936); of a convolution the split
    of Zhang et al. 2015, without their data.

    >>> first, second = svd(torch.tensor([[3.0, 0.0], [4.0, 5.0]]), 1)
    >>> second @ first
    tensor([[1.5000, 1.5000],
            [4.5000, 4.5000]], dtype=torch.float64)
    """
    left, sizes, right = torch.linalg.svd(weight.double().flatten(1), full_matrices=False)
    root = sizes[:rank].sqrt()
    first = root[:, None] * right[:rank]
    return first.reshape(-1, *weight.shape[1:]), left[:, :rank] * root


def spatial(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """A vertical layer of `rank` filters, and a horizontal one: (r, C, k_h, 1), (N, r, 1, k_w).

    The best of that rank for the matrix C·k_h × N·k_w (Jaderberg et al. 2014; in closed form Tai et
    al. 2016, section 3.2).

    >>> sobel = torch.tensor([[[[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]]]])
    >>> torch.allclose(composed_spatial(*spatial(sobel, 1)).float(), sobel, atol=1e-6)
    True
    """
    filters, inputs, height, width = weight.shape
    matrix = weight.double().permute(1, 2, 0, 3).reshape(inputs * height, filters * width)
    left, sizes, right = torch.linalg.svd(matrix, full_matrices=False)
    root = sizes[:rank].sqrt()
    vertical = (left[:, :rank] * root).T.reshape(-1, inputs, height, 1)
    horizontal = (root[:, None] * right[:rank]).reshape(-1, filters, 1, width)
    return vertical, horizontal.transpose(0, 1)


def tucker2(weight: Tensor, inner: int, outer: int) -> tuple[Tensor, Tensor, Tensor]:
    """A layer of 1×1, one with the kernel, and one of 1×1: (r_i, C), (r_o, r_i, …), (N, r_o).

    Tucker's decomposition along filters and inputs (Kim et al. 2016) by higher-order orthogonal
    iteration (De Lathauwer et al. 2000), begun from the higher-order SVD.
    """
    cube = weight.double().flatten(2) if weight.dim() > 2 else weight.double()[..., None]
    on_inputs, on_filters = _basis(cube, 1, inner), _basis(cube, 0, outer)
    size = 0.0
    for _ in range(ROUNDS):
        on_filters = _basis(torch.einsum("nck,ci->nik", cube, on_inputs), 0, outer)
        on_inputs = _basis(torch.einsum("nck,no->ock", cube, on_filters), 1, inner)
        core = torch.einsum("nck,no,ci->oik", cube, on_filters, on_inputs)
        before, size = size, float(core.norm())
        if size - before <= ENOUGH * size:
            break
    return on_inputs.T, core.reshape(outer, inner, *weight.shape[2:]), on_filters


def _basis(cube: Tensor, axis: int, rank: int) -> Tensor:
    """The first left singular vectors of a cube, unfolded along an axis."""
    matrix = cube.movedim(axis, 0).flatten(1)
    left: Tensor = torch.linalg.svd(matrix, full_matrices=False)[0]
    return left[:, :rank]


def cp(weight: Tensor, rank: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Layers of 1×1, k_h×1 and 1×k_w for each of `rank` channels, and 1×1: (r, C), (r, k_h),
    (r, k_w), (N, r).

    Canonical polyadic decomposition (Lebedev et al. 2015) by alternating least squares, a hair
    ridged; the best of three random starts, since it gets stuck.
    """
    generator = torch.Generator().manual_seed(seed)
    cube = weight.double().cpu()
    tries = [_alternating(cube, rank, generator) for _ in range(STARTS)]
    _, (filters, inputs, rows, columns) = min(tries, key=lambda tried: tried[0])
    return inputs.T, rows.T, columns.T, filters


def _alternating(cube: Tensor, rank: int, generator: torch.Generator) -> tuple[float, list[Tensor]]:
    """The squared error and the factors, (size of each axis, rank)."""
    factors = [
        torch.randn(size, rank, generator=generator, dtype=torch.float64) for size in cube.shape
    ]
    whole, error = float(cube.square().sum()), float("inf")
    for _ in range(ROUNDS):
        for axis in range(4):
            others = [factor for at, factor in enumerate(factors) if at != axis]
            gram = torch.ones(rank, rank, dtype=torch.float64)
            for factor in others:
                gram = gram * (factor.T @ factor)
            letters = [letter for at, letter in enumerate("abcd") if at != axis]
            terms = ",".join(f"{letter}r" for letter in letters)
            product = torch.einsum(f"abcd,{terms}->{'abcd'[axis]}r", cube, *others)
            ridge = 1e-9 * gram.diagonal().mean() * torch.eye(rank, dtype=torch.float64)
            factors[axis] = torch.linalg.solve(gram + ridge, product.T).T
        gram = gram * (factors[3].T @ factors[3])
        fitted = float(2 * (product * factors[3]).sum() - gram.sum())
        before, error = error, whole - fitted
        if before - error <= 1e-6 * whole:
            break
    return error, factors


def of_rank(weight: Tensor, form: str, ranks: Sequence[int], seed: int = 0) -> Tensor:
    """The weight that factors of a form compose: "svd", "spatial", "tucker2" or "cp".

    ranks: one, of "tucker2" that of the inputs and that of the filters; seed: of "cp"

    >>> of_rank(torch.tensor([[3.0, 0.0], [4.0, 5.0]]), "svd", [1])
    tensor([[1.5000, 1.5000],
            [4.5000, 4.5000]])
    """
    if form == "svd":
        whole = composed(*svd(weight, *ranks))
    elif form == "spatial":
        whole = composed_spatial(*spatial(weight, *ranks))
    elif form == "tucker2":
        whole = composed_tucker2(*tucker2(weight, *ranks))
    else:
        whole = composed_cp(*cp(weight, ranks[0], seed))
    return whole.to(weight)


def composed(first: Tensor, second: Tensor) -> Tensor:
    """The weight of `svd`'s two layers."""
    return torch.einsum("nr,r...->n...", second, first)


def composed_spatial(vertical: Tensor, horizontal: Tensor) -> Tensor:
    """The weight of `spatial`'s two layers."""
    return torch.einsum("rchx,nrxw->nchw", vertical, horizontal)


def composed_tucker2(inputs: Tensor, core: Tensor, filters: Tensor) -> Tensor:
    """The weight of `tucker2`'s three layers."""
    return torch.einsum("no,oi...,ic->nc...", filters, core, inputs)


def composed_cp(inputs: Tensor, rows: Tensor, columns: Tensor, filters: Tensor) -> Tensor:
    """The weight of `cp`'s four layers."""
    return torch.einsum("nr,rc,rh,rw->nchw", filters, inputs, rows, columns)
