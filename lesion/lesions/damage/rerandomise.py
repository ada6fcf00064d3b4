"""rerandomise: weights drawn anew, as before training (Zhang et al. 2022)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from lesion.compression.footprint import Shape
from lesion.lesions.weight_damage import PartialDamage

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(eq=False)
class Rerandomise(PartialDamage):
    """A share of a layer's weights, drawn at random, as `reset_parameters` of torch's layers gives
    them; an amount is the share.  Biases and batch norms stay.
    """

    word = "rerandomise"
    amounts = PartialDamage.shares("drawn anew")

    def change(self, shape: Shape, amount: float, seed: int) -> "Callable[[Tensor], Tensor]":
        """See `lesion.compression.disturbance.rerandomised`."""
        from lesion.compression.disturbance import rerandomised

        return partial(rerandomised, share=amount, seed=seed)


damage = Rerandomise()
