"""How a layer's weight is a matrix, and rows of what it reads.

What each weight reads is found by the operation itself, run on the numbers of positions, so that
strides, paddings and dilations are its own.
"""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor
from torch.nn import functional

from lesion.network.program import Step
from lesion.network.rules.layers import LINEAR, TRANSPOSED

GROUPS = 6  # among the arguments of convolutions


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
