"""What a layer reads in an edited network, and by how much it misses: sums over training images.

A convolution (of any dimension, grouped or transposed) and a linear layer are one thing here: rows
of what they read times a matrix.  What each weight reads is found by the operation itself, run on
the numbers of positions, so that strides, paddings and dilations are its own.
"""

from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor
from torch.nn import functional

from lesion.errors import LesionError
from lesion.network.program import Step
from lesion.network.rules.layers import CONVOLUTIONS, LINEAR, TRANSPOSED

FITTED = CONVOLUTIONS | TRANSPOSED | LINEAR
GROUPS = 6  # among the arguments of convolutions
ROWS = 5  # for each unknown, at least: with fewer a fit follows the images that it sees
MOST = 100  # for each unknown: more cost time and tell little


@dataclass(frozen=True)
class Layout:
    """How a layer's weight is a matrix for each group: (groups, reads, makes)."""

    name: str
    shape: tuple[int, ...]
    groups: int

    @property
    def taps(self) -> int:
        """How many weights a channel is read with."""
        return 1 if self.name in LINEAR else prod(self.shape[2:])

    @classmethod
    def of(cls, step: Step) -> "Layout":
        """The layout of the layer that a step runs."""
        few = step.name in LINEAR or len(step.args) <= GROUPS
        groups = 1 if few else int(step.args[GROUPS])
        return cls(step.name, tuple(step.args[1].shape), groups)

    def matrix(self, weight: Tensor) -> Tensor:
        """A weight, or what is in its shape, as (groups, reads, makes).

        >>> Layout("conv2d", (4, 1, 3, 3), 2).matrix(torch.zeros(4, 1, 3, 3)).shape
        torch.Size([2, 9, 2])
        """
        if self.name == "linear":
            return weight.t().unsqueeze(0)
        if self.name == "transposed_linear":
            return weight.unsqueeze(0)
        grouped = weight.reshape(self.groups, -1, *weight.shape[1:])
        if self.name in TRANSPOSED:  # (groups, reads, makes, positions)
            return grouped.flatten(3).transpose(2, 3).flatten(1, 2)
        return grouped.flatten(2).transpose(1, 2)

    def weight(self, matrix: Tensor) -> Tensor:
        """The weight that a matrix stands for."""
        if self.name == "linear":
            return matrix[0].t().contiguous()
        if self.name == "transposed_linear":
            return matrix[0].contiguous()
        first, second, *kernel = self.shape
        if self.name in TRANSPOSED:
            grouped = matrix.reshape(self.groups, first // self.groups, prod(kernel), second)
            return grouped.transpose(2, 3).reshape(self.shape).contiguous()
        return matrix.transpose(1, 2).reshape(self.shape).contiguous()

    def sources(self, step: Step, x: Tensor) -> Tensor:
        """(taps, positions): where in a map of x each weight of a channel reads for each position
        of the output, counted from 1, or 0 where nothing is read."""
        if self.name in LINEAR:
            return torch.arange(1, x[0].numel() // x.shape[-1] + 1, device=x.device).unsqueeze(0)
        size = x.shape[2:]
        numbers = torch.arange(1, prod(size) + 1, dtype=torch.double, device=x.device)
        unit = torch.eye(self.taps, dtype=torch.double, device=x.device)
        unit = unit.reshape(self.taps, 1, *self.shape[2:])
        if self.name in TRANSPOSED:
            unit = unit.transpose(0, 1)
        rest = [1 if place == GROUPS else value for place, value in enumerate(step.args)][3:]
        read: Tensor = step.op(numbers.reshape(1, 1, *size), unit, None, *rest, **step.kwargs)
        return read.reshape(self.taps, -1).round().long()

    def rows(self, x: Tensor, sources: Tensor) -> Tensor:
        """What the layer reads of a batch, (images, positions, groups, reads); see `sources`."""
        if self.name in LINEAR:
            return x.reshape(len(x), -1, 1, x.shape[-1])[:, sources[0] - 1]
        flat = functional.pad(x.flatten(2), (1, 0))[:, :, sources]
        return flat.reshape(len(x), self.groups, -1, sources.shape[1]).permute(0, 3, 1, 2)

    def made(self, y: Tensor) -> Tensor:
        """What the layer makes of a batch, (images, positions, groups, makes)."""
        if self.name in LINEAR:
            return y.reshape(len(y), -1, 1, y.shape[-1])
        return y.reshape(len(y), self.groups, y.shape[1] // self.groups, -1).permute(0, 3, 1, 2)


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
