"""quantise: weights in few bits, in equal steps (Krishnamoorthi 2018; Nagel et al. 2021)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from lesion.compression.footprint import Footprint, Shape
from lesion.errors import LesionError
from lesion.lesions.weight_damage import BITS, WeightDamage

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(eq=False)
class Quantise(WeightDamage):
    """Weights rounded to equal steps, 2^bits of them at most; an amount is the number of bits.

    per: "channel", a step for each filter, or "tensor"; grid: "symmetric", "asymmetric" or "full";
    clip: "max", "percentile" (with its number) or "mse": see `lesion.compression.uniform.uniform`.
    The weight that is rounded is the one with the batch norm behind it folded in, as where
    quantised networks run; that norm's statistics are those of the intact network.
    """

    per: Literal["channel", "tensor"] = "channel"
    grid: Literal["symmetric", "asymmetric", "full"] = "symmetric"
    clip: Literal["max", "percentile", "mse"] = "max"
    percentile: float = 99.9

    word = "quantise"
    folded = True
    amounts = BITS

    def __post_init__(self) -> None:
        super().__post_init__()
        self.slow = self.clip == "mse"
        if self.percentile > 100:
            raise LesionError(f"Expected a percentile up to 100, got {self.percentile:g}.")

    def left(self, shape: Shape, amount: float) -> Footprint:
        """The bits, a float for each step, and of an asymmetric grid its zero."""
        scales = shape.filters if self.per == "channel" else 1
        return shape.quantised(int(amount), scales, scales * (self.grid == "asymmetric"))

    def change(self, shape: Shape, amount: float, seed: int) -> "Callable[[Tensor], Tensor]":
        """See `lesion.compression.uniform.uniform`."""
        from lesion.compression.uniform import uniform

        return partial(
            uniform,
            bits=int(amount),
            grid=self.grid,
            per=self.per,
            clip=self.clip,
            percentile=self.percentile,
        )


damage = Quantise()
