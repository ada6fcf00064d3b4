"""shuffle: the weights of a layer in another order, a control that saves nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from lesion.compression.footprint import Shape
from lesion.lesions.weight_damage import PartialDamage

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(eq=False)
class Shuffle(PartialDamage):
    """A share of a layer's weights, drawn at random, in a random order;
    an amount is the share.  Biases and batch norms stay.
    """

    word = "shuffle"
    amounts = PartialDamage.shares("shuffled")

    def change(self, shape: Shape, amount: float, seed: int) -> "Callable[[Tensor], Tensor]":
        """See `lesion.compression.disturbance.shuffled`."""
        from lesion.compression.disturbance import shuffled

        return partial(shuffled, share=amount, seed=seed)


damage = Shuffle()
