"""Layers of a pruned network that read values in few bits."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from lesion.compression.tensors import Rounding
from lesion.errors import LesionError
from lesion.network.copy import copied
from lesion.network.torch_layers import put_in_place


class QuantisedInput(nn.Module):
    """Rounds what the layer behind it reads, bit for bit as `lesion.compression.tensors.rounded`
    does, in operations that torch.export and ONNX have.

    bits; low, high: the range, frozen before
    """

    def __init__(self, bits: int, low: float, high: float) -> None:
        super().__init__()
        self.bits = bits
        self.low, self.high = low, high

    def forward(self, values: Tensor) -> Tensor:
        """The values on the steps."""
        steps = 2**self.bits - 1
        scale = (self.high - self.low) / steps
        zero = round(-self.low / scale)
        shares = torch.round(values.float() * float(1 / np.float32(scale)))
        few: Tensor = shares.clamp(-zero, steps - zero) * scale
        return few.to(values.dtype)

    def extra_repr(self) -> str:
        """The bits and the range."""
        return f"bits={self.bits}, low={self.low:g}, high={self.high:g}"


def reading_few_bits(module: nn.Module, rounding: Rounding) -> nn.Sequential:
    """A layer behind what rounds its input.

    >>> layer = reading_few_bits(nn.Linear(1, 1), Rounding(2, 0.0, 3.0))
    >>> layer[0](torch.tensor([0.4, 1.6, 9.0]))
    tensor([0., 2., 3.])
    """
    few = QuantisedInput(rounding.bits, rounding.low, rounding.high)
    return nn.Sequential(few, module).train(module.training)


def with_roundings(network: nn.Module, roundings: Mapping[str, Rounding]) -> nn.Module:
    """A copy of a network with roundings in front of layers, by their names; itself without any.

    Raises LesionError for a layer that is no module of its own.
    """
    if not roundings:
        return network
    apart = copied(network)
    modules = dict(apart.named_modules())
    for path, rounding in roundings.items():
        if path not in modules:
            raise LesionError(
                f"Expected layers that are modules of their own where they read few bits, but "
                f"{path} is a part of one; recommend by damages that leave inputs as they are."
            )
        put_in_place(apart, modules[path], reading_few_bits(modules[path], rounding))
    return apart
