"""The principal directions of what a layer gives, and the layer that gives no others.

Zhang, Zou, He and Sun 2016 (Accelerating very deep convolutional networks), section 3.1: of the
responses y of a layer at all positions, with mean ȳ, the first r eigenvectors Q of their covariance
are kept.  y is replaced by Q Qᵀ (y − ȳ) + ȳ, which a layer of weight Q Qᵀ W and bias
Q Qᵀ b + (I − Q Qᵀ) ȳ gives: one of r filters Qᵀ W, and one of 1×1 with Q and that bias behind it.
No other layer of rank r has a smaller squared error on these responses: it is the sum of the
eigenvalues that are left out.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lesion.errors import LesionError

PART = 2**14  # rows that are multiplied at once
ROWS = 5  # for each channel, at least: with fewer the directions are those of the images seen


class Responses:
    """The mean and the covariance of rows that are seen part by part, in double precision.

    Parts are joined around their own means (Chan, Golub and LeVeque 1983).

    >>> seen = Responses()
    >>> seen.add(torch.tensor([[1.0, 0.0], [3.0, 0.0]]))
    >>> seen.add(torch.tensor([[2.0, 3.0]]))
    >>> seen.mean.tolist(), (3 * seen.covariance).round(decimals=6).tolist()
    ([2.0, 1.0], [[2.0, 0.0], [0.0, 6.0]])
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(0, dtype=torch.float64)
        self._products = torch.zeros(0, 0, dtype=torch.float64)

    def add(self, rows: Tensor) -> None:
        """More rows, (rows, channels)."""
        for start in range(0, len(rows), PART):
            self._join(rows.detach()[start : start + PART].double())

    def _join(self, rows: Tensor) -> None:
        mean = rows.mean(0)
        centred = rows - mean
        products = (centred.T @ centred).cpu()
        if self.count:
            away = mean.cpu() - self.mean
            share = len(rows) / (self.count + len(rows))
            products += self._products + torch.outer(away, away) * self.count * share
            self.mean = self.mean + share * away
        else:
            self.mean = mean.cpu()
        self._products = products
        self.count += len(rows)

    @property
    def covariance(self) -> Tensor:
        """(channels, channels), of the rows as all that there are."""
        return self._products / self.count

    def numbers(self) -> np.ndarray:
        """The mean, and the covariance on and above its diagonal, row by row.

        Raises LesionError for values that are not finite, for less than five rows a channel and for
        responses that are all the same.
        """
        covariance, channels = self.covariance, len(self.mean)
        if not bool(covariance.isfinite().all()):
            raise LesionError("what it gives on the calibration images is not finite")
        if self.count < ROWS * channels:
            raise LesionError(
                f"its {channels} filters need {ROWS * channels} responses, but the calibration "
                f"images give {self.count}: take more of them (images=…)"
            )
        if not bool(covariance.any()):
            raise LesionError("it gives the same everywhere on the calibration images")
        upper = covariance.numpy()[np.triu_indices(channels)]
        return np.concatenate([self.mean.numpy(), upper])


@dataclass(frozen=True, eq=False)
class Projection:
    """Responses on their first principal directions; it can be pickled.

    basis: Q, (channels, r), orthonormal; mean: ȳ

    >>> spread = np.array([1.0, 2.0, 4.0, 0.0, 1.0])  # mean (1, 2), variances 4 and 1
    >>> first = Projection.of(spread, 2, 1)
    >>> first.weight(torch.tensor([[3.0, 5.0], [7.0, 9.0]]))
    tensor([[3., 5.],
            [0., 0.]])
    >>> first.bias(torch.tensor([0.5, 0.5]))
    tensor([0.5000, 2.0000], dtype=torch.float64)
    """

    basis: Tensor
    mean: Tensor

    @classmethod
    def of(cls, numbers: np.ndarray, channels: int, rank: int) -> "Projection":
        """The first `rank` eigenvectors, of what `Responses.numbers` gave."""
        covariance = np.zeros((channels, channels))
        covariance[np.triu_indices(channels)] = numbers[channels:]
        vectors = torch.linalg.eigh(torch.from_numpy(covariance), UPLO="U").eigenvectors
        return cls(vectors[:, -rank:].flip(1).contiguous(), torch.from_numpy(numbers[:channels]))

    def factors(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """A layer of r filters with the whole kernel, and one of 1×1 behind it: (r, C, …), (N, r).

        weight: (N, C, …)
        """
        basis = self.basis.to(weight.device)
        return torch.einsum("nr,n...->r...", basis, weight.double()), basis

    def weight(self, weight: Tensor) -> Tensor:
        """Q Qᵀ W."""
        first, second = self.factors(weight)
        return torch.einsum("nr,r...->n...", second, first).to(weight)

    def bias(self, bias: Tensor | None) -> Tensor:
        """Q Qᵀ b + (I − Q Qᵀ) ȳ, in double precision; None for b = 0."""
        given = torch.zeros_like(self.mean) if bias is None else bias.detach().double().cpu()
        return self.mean + self.basis @ (self.basis.T @ (given - self.mean))
