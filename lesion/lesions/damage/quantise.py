"""quantise: weights in few bits, in equal steps (Krishnamoorthi 2018; Nagel et al. 2021)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lesion.compression.footprint import FLOAT, Footprint, Shape
from lesion.errors import LesionError
from lesion.lesions.input_damage import FEWEST, IMAGES, MOST, Clip, rounding, spans
from lesion.lesions.layer_damage import check_percentile
from lesion.lesions.lesion import Lesion
from lesion.lesions.ratios import kept
from lesion.lesions.weight_damage import BITS, WeightDamage

if TYPE_CHECKING:
    from torch import Tensor

    from lesion.compression.value_counts import ValueCounts


@dataclass(eq=False)
class Quantise(WeightDamage):
    """Weights rounded to equal steps, 2^bits of them at most; an amount is the number of bits.

    per: "channel", a step for each filter, or "tensor"; grid: "symmetric", "asymmetric", "full" or
        "signed"; clip: "max", "percentile" (with its number) or "mse": see
        `lesion.compression.uniform.uniform`.
    sparse: the share of the weights, the smallest, that are zero first, as in Deep Compression (Han
        et al. 2016): a measured pair of two damages.
    activations: so many bits of what the layer reads as well, in the same lesion, of a range that
    is clipped likewise (`range`), see `lesion.lesions.damage.activations`.
    The weight that is rounded is the one with the batch norm behind it folded in, as where
    quantised networks run; that norm's statistics are those of the intact network.
    """

    per: Literal["channel", "tensor"] = "channel"
    grid: Literal["symmetric", "asymmetric", "full", "signed"] = "symmetric"
    clip: Clip = "max"
    percentile: float = 99.9
    sparse: float = 0.0
    activations: int = FLOAT
    range: Clip = "max"

    word = "quantise"
    folded = True
    amounts = BITS

    def __post_init__(self) -> None:
        super().__post_init__()
        self.slow = self.clip == "mse"
        check_percentile(self.percentile)
        if self.activations not in (*range(FEWEST, MOST + 1), FLOAT):
            raise LesionError(
                f"Expected {FEWEST} to {MOST} bits of activations for quantise, or {FLOAT} for "
                f"floats, got {self.activations}."
            )
        self.images = IMAGES if self.activations < FLOAT else 0
        if self.sparse >= 1:
            raise LesionError(f"Expected a share of zeros below 1, got {self.sparse:g}.")

    def left(self, shape: Shape, amount: float) -> Footprint:
        """The bits, a float for each step, of an asymmetric grid its zero, of zeros a mask."""
        scales = shape.filters if self.per == "channel" else 1
        few = kept(shape.numbers, self.sparse) if self.sparse else None
        zeros = scales * (self.grid == "asymmetric")
        return shape.quantised(int(amount), scales, zeros, few, self.activations)

    def change(self, shape: Shape, amount: float, seed: int) -> "Callable[[Tensor], Tensor]":
        """See `lesion.compression.uniform.uniform`, and `lesion.compression.grains.sparse`."""
        from lesion.compression.uniform import sparse_uniform, uniform

        steps: dict[str, Any] = {
            "bits": int(amount),
            "grid": self.grid,
            "per": self.per,
            "clip": self.clip,
            "percentile": self.percentile,
        }
        if not self.sparse:
            return partial(uniform, **steps)
        return partial(sparse_uniform, kept=kept(shape.numbers, self.sparse), **steps)

    def calibration(self, counts: "ValueCounts") -> np.ndarray:
        """The range of what the layer reads, for each number of bits."""
        return spans(counts, self.range, self.percentile)

    def input_change(
        self, lesion: Lesion, scores: np.ndarray | None
    ) -> "Callable[[Tensor], Tensor] | None":
        """What the weight is multiplied with in few bits too."""
        return None if scores is None else rounding(self.activations, scores)


damage = Quantise()
