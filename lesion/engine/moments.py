"""What a layer reads in an edited network, and by how much it misses: sums over training images.

A convolution (of any dimension, grouped or transposed) and a linear layer are one thing here: rows
of what they read times a matrix, see `lesion.network.layout`.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lesion.errors import LesionError
from lesion.network.rules.layers import CONVOLUTIONS, LINEAR, TRANSPOSED

FITTED = CONVOLUTIONS | TRANSPOSED | LINEAR
ROWS = 5  # for each unknown, at least: with fewer a fit follows the images that it sees
MOST = 100  # for each unknown: more cost time and tell little


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over rows.

    count: how many; reads: (groups, reads + 1, reads + 1), products of what is read, the last of
        it 1; misses: (groups, reads + 1, makes), products of that and of by how much the layer's
        output falls short; of both the last row alone where only a constant is fitted
    """

    count: int
    reads: Tensor
    misses: Tensor

    @classmethod
    def of(cls, read: Tensor, missing: Tensor | None, wide: bool) -> "Moments":
        """Of rows (images, positions, groups, …) of both; None where nothing is missing.

        wide: all rows of the products, or the last one.  Products are in the rows' own precision,
        sums over batches in double.
        """
        rows = by_group(read)
        rows = torch.cat([rows, rows.new_ones(*rows.shape[:2], 1)], 2)
        short = rows[..., :0] if missing is None else by_group(missing)
        turned = rows.transpose(1, 2)[:, 0 if wide else -1 :]
        return cls(rows.shape[1], (turned @ rows).double(), (turned @ short).double())

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            self.count + other.count, self.reads + other.reads, self.misses + other.misses
        )

    def missing(self, lost: Tensor) -> "Moments":
        """Of the same rows, where the layer's matrix (groups, reads, makes) loses so much more."""
        more = self.reads[:, :, :-1] @ lost.to(self.reads)
        return replace(self, misses=self.misses + more if self.misses.shape[2] else more)

    def shifted(self, more: Tensor) -> "Moments":
        """Of the same rows, where the layer misses a constant (groups, makes) more."""
        return replace(
            self, misses=self.misses + self.reads[:, :, -1:] * more.to(self.reads)[:, None]
        )

    def of_channels(self, group: int, taps: int) -> tuple[Tensor, Tensor]:
        """Means of products of two channels, and of channels, over the kernel's positions."""
        reads = self.reads[group] / (self.count * taps)
        pairs = reads[:-1, :-1].reshape(-1, taps, len(reads[:-1]) // taps, taps)
        return torch.einsum("akbk->ab", pairs), reads[:-1, -1].reshape(-1, taps).sum(1)


def by_group(values: Tensor) -> Tensor:
    """Rows (images, positions, groups, …) as (groups, rows, …), in single precision at least."""
    precision = torch.promote_types(values.dtype, torch.float32)
    return values.flatten(0, 1).transpose(0, 1).to(precision).contiguous()


def chosen(seed: int, positions: int, most: int) -> Tensor:
    """At most so many positions of a map, at random, in order."""
    numbers = torch.Generator().manual_seed(seed)
    return torch.randperm(positions, generator=numbers)[: max(1, most)].sort().values


def fitted(moments: Moments, free: Tensor, ridge: float, biased: bool) -> tuple[Tensor, Tensor]:
    """What is to be added to a layer's matrix and bias so that it misses least.

    The least squares of the missing over all rows, with `ridge` of the rows' mean square a column
    as the price of every change: the sum of squares is never more than before, and stays where
    nothing is missing.  (Hoerl and Kennard 1970, around the present weights.)

    free: (groups, reads), the columns that may change; biased: whether the bias may

    Raises LesionError for fewer rows than five an unknown.
    """
    groups, width = free.shape
    change = moments.misses.new_zeros(groups, width + 1, moments.misses.shape[2])
    unknowns = int(free.sum(1).max()) + biased
    if moments.count < ROWS * unknowns:
        raise LesionError(
            f"Expected at least {ROWS * unknowns} rows for {unknowns} unknowns, got {moments.count}"
        )
    for group, columns in enumerate(free.to(moments.reads.device)):
        with_bias = torch.cat([columns, columns.new_tensor([biased])])
        at = with_bias.nonzero()[:, 0]
        if not len(at):
            continue
        reads = moments.reads[group][at][:, at]
        scale = reads.diagonal()[: int(columns.sum())]
        price = torch.zeros_like(reads.diagonal())
        price[: len(scale)] = ridge * scale.mean() if len(scale) else 0.0
        change[group, at] = solved(reads + torch.diag(price), moments.misses[group][at])
    return change[:, :-1], change[:, -1]


def solved(square: Tensor, right: Tensor) -> Tensor:
    """The least solution of a symmetric system, which may be singular."""
    factor, problem = torch.linalg.cholesky_ex(square)
    if int(problem) == 0 and bool(factor.diagonal().min() > 1e-7 * factor.diagonal().max()):
        return torch.cholesky_solve(right, factor)
    inverse: Tensor = torch.linalg.pinv(square, rtol=1e-12, hermitian=True)
    return inverse @ right
