"""noise: normal noise on the weights, a smooth axis of harm that saves nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from lesion.compression.footprint import Shape
from lesion.lesions.amounts import Amounts
from lesion.lesions.weight_damage import WeightDamage

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(eq=False)
class Noise(WeightDamage):
    """Noise of σ times the standard deviation of a layer's weights; an amount is σ, seeds draw it.

    Batch norm is not folded.
    """

    word = "noise"
    amounts = Amounts(
        (0.1, 0.2, 0.5, 1.0),
        "noise level",
        "noise, of the weights' deviation",
        "σ",
        of=" of noise",
        example="0.1 adds a tenth of the weights' standard deviation.",
        spared="as it is",
    )

    def change(self, shape: Shape, amount: float, seed: int) -> "Callable[[Tensor], Tensor]":
        """See `lesion.compression.disturbance.noisy`."""
        from lesion.compression.disturbance import noisy

        return partial(noisy, sigma=amount, seed=seed)


damage = Noise()
