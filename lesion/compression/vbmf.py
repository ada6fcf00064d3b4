"""The rank of a matrix in noise, by variational Bayes: EVBMF (Nakajima et al. 2013).

Kim et al. 2016 choose so the ranks of a factored network's layers, without images.
"""

import numpy as np
import torch
from scipy.optimize import brentq, minimize_scalar
from torch import Tensor

from lesion.compression.factors import of_rank

GRID = 500  # of noise variances, evenly in their logarithms, before the best is refined


def vbmf_rank(matrix: Tensor) -> int:
    """How many components of a matrix empirical variational Bayes keeps; 0 of mere noise.

    A component stays where γ² > M·σ²·x̄: γ is its singular value, M the longer side, x̄ =
    (1 + τ)(1 + α / τ), with α the shorter side over the longer, and σ² is the variance that has the
    least free energy (theorem 2 and corollary 2 of Nakajima et al. 2013; the root τ is found, not
    taken as 2.5129·√α).

    >>> generator = torch.Generator().manual_seed(0)
    >>> made = [torch.randn(*shape, generator=generator) for shape in ((30, 2), (2, 80), (30, 80))]
    >>> vbmf_rank(10 * made[0] @ made[1] + made[2]), vbmf_rank(made[2])
    (2, 0)
    """
    short, long = sorted(matrix.shape)
    wide = matrix.double() if len(matrix) == short else matrix.double().T
    squares = torch.linalg.eigvalsh(wide @ wide.T).flip(0).clamp(0).cpu().numpy() / long
    if not squares.any():
        return 0
    ratio = short / long
    least = _threshold(ratio)
    return int((squares > _noise(squares, ratio, least) * least).sum())


def _threshold(ratio: float) -> float:
    """x̄: so large is γ² / (M·σ²) at least of a component that stays."""
    high = 2.52  # above the root of a square matrix, 2.5129

    def condition(tau: float) -> float:
        return float(np.log1p(tau) / tau + np.log1p(tau / ratio) * ratio / tau - 1)

    tau = brentq(condition, 0.9 * ratio, high)
    return float((1 + tau) * (1 + ratio / tau))


def _noise(squares: np.ndarray, ratio: float, least: float) -> float:
    """The variance of the noise, by squared singular values over the longer side."""
    first = max(int(np.ceil(len(squares) / (1 + ratio))) - 1, 0)
    high = float(squares.mean())
    low = max(float(squares[first]) / least, float(squares[first:].mean()), high * 1e-12)
    if low >= high:
        return high

    def energy(logarithm: float) -> float:
        return _free_energy(squares / np.exp(logarithm), ratio, least)

    grid = np.linspace(np.log(low), np.log(high), GRID)
    best = int(np.argmin([energy(point) for point in grid]))
    around = grid[max(best - 1, 0)], grid[min(best + 1, GRID - 1)]
    return float(np.exp(minimize_scalar(energy, bounds=around, method="bounded").x))


def _free_energy(x: np.ndarray, ratio: float, least: float) -> float:
    """Over the longer side, but for what does not depend on the noise."""
    kept = x[x > least]
    shifted = kept - (1 + ratio)
    tau = (shifted + np.sqrt(shifted**2 - 4 * ratio)) / 2
    gain = np.log1p(tau) + ratio * np.log1p(tau / ratio) - tau
    return float((x - np.log(np.maximum(x, 1e-300))).sum() + gain.sum())


def weakened_ranks(weight: Tensor, form: str, weakening: float) -> tuple[int, ...]:
    """Ranks between the full ones and those of `vbmf_rank`, at least 1: r + (1 − w)(full − r).

    form: "svd", of the matrix N × C·k²; "tucker2", of the unfoldings along inputs and filters
    weakening: w, 1 for the ranks of `vbmf_rank` (Gusak et al. 2019, section 3: weakened ranks)
    """
    cube = weight.flatten(2) if weight.dim() > 2 else weight[..., None]
    axes = (1, 0) if form == "tucker2" else (0,)
    ranks = []
    for axis in axes:
        matrix = cube.movedim(axis, 0).flatten(1)
        least = max(vbmf_rank(matrix), 1)
        ranks.append(round(least + (1 - weakening) * (min(matrix.shape) - least)))
    return tuple(ranks)


def of_weakened_rank(weight: Tensor, form: str, weakening: float) -> Tensor:
    """The weight that factors of `weakened_ranks` compose."""
    return of_rank(weight, form, weakened_ranks(weight, form, weakening))
