"""Layers of a pruned network that read values in few bits."""

from torch import Tensor, nn

from lesion.compression.tensors import Rounding, rounded


class QuantisedInput(nn.Module):
    """Rounds what the layer behind it reads: see `lesion.compression.tensors.rounded`.

    bits; low, high: the range, frozen before
    """

    def __init__(self, bits: int, low: float, high: float) -> None:
        super().__init__()
        self.bits = bits
        self.low, self.high = low, high

    def forward(self, values: Tensor) -> Tensor:
        """The values on the steps."""
        return rounded(values, self.bits, self.low, self.high)

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
