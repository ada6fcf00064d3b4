"""A damage of one's own: the weights of one layer rounded to b bits, all else in float.

The package has `quantise`, which knows more ways; this is how little a damage takes.

    lesion sweep … --damage rounded --amounts 8,6,4,3,2

where a package has this module as an entry point:

    [project.entry-points."lesion.damage"]
    rounded = "fake_quantisation"
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from lesion import Amounts, Damage, Weight


def rounded(weight: Tensor, bits: int) -> Tensor:
    """The weight on the grid of so many bits, symmetric around 0, the largest at its end.

    round(w / s) · s with s = max |w| / (2^(b − 1) − 1), as the symmetric quantisers of whole
    tensors (Krishnamoorthi 2018, section 2.2).

    >>> rounded(torch.tensor([-0.7, 0.2, 0.4, 0.7]), 2).tolist()
    [-0.699999988079071, 0.0, 0.699999988079071, 0.699999988079071]
    """
    scale = weight.abs().max() / (2 ** (bits - 1) - 1)
    return torch.round(weight / scale) * scale if scale > 0 else weight


class Rounded(Damage):
    """Each layer's weight in few bits; the fewer, the more harm."""

    name = "rounded"
    amounts = Amounts(
        (8, 6, 5, 4, 3, 2),
        "bit width",
        "bits of the weights",
        "bits",
        rising=False,
        low=1,
        high=33,
        whole=True,
        example="8 keeps 255 steps.",
    )
    scored = False  # every weight is rounded, so that no criterion says which go first

    def edit(self, dissection: Any, lesion: Any, scores: Any) -> Weight:
        """The layer's weight, rounded; batch norm is folded behind it, as it was."""
        change = partial(rounded, bits=int(lesion.amount))
        return Weight.of(dissection, lesion.target, change, f"rounded {lesion.amount:g}")


damage = Rounded()
