"""vbmf: layers as if factored with the ranks that variational Bayes finds (Kim et al. 2016)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from lesion.compression.footprint import Footprint, Shape
from lesion.lesions.amounts import Amounts
from lesion.lesions.damage.low_rank import unfactored
from lesion.lesions.weighed_damage import WeighedDamage
from lesion.network.anatomy import Layer

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(eq=False)
class VariationalRank(WeighedDamage):
    """The weight that a layer's factors compose, of ranks that its weights ask for: those of
    `lesion.compression.vbmf` at an amount of 1, and at a smaller one as much nearer to the full
    ranks (Gusak et al. 2019: weakened ranks).

    Kernels are factored by Tucker-2, layers with one position by SVD.  What is saved depends on the
    weights; `low_rank` is where the saving is chosen instead.

    Batch norm is not folded.
    """

    word = "vbmf"
    slow = True
    amounts = Amounts(
        (0.25, 0.5, 0.75, 1.0),
        "weakening",
        "share of the way to the VBMF ranks",
        of=" of the way to its VBMF ranks",
        high=1.0,
        closed=True,
        example="1 takes the ranks of VBMF, 0.5 ranks halfway to them.",
        spared="in full rank",
    )

    def unfit(self, layer: Layer) -> str:
        """Where there is nothing to factor."""
        return unfactored(layer)

    def nothing_in(self, shape: Shape, weight: np.ndarray, amount: float) -> str:
        """Where the factors cost no less than the layer."""
        none_saved = self.left_of(shape, weight, amount).macs >= shape.intact().macs
        return "factors of these ranks have no fewer MACs" if none_saved else ""

    def left_of(self, shape: Shape, weight: np.ndarray, amount: float) -> Footprint:
        """The factors."""
        import torch

        from lesion.compression.vbmf import weakened_ranks

        cube = torch.from_numpy(weight).reshape(shape.filters, shape.inputs, *shape.kernel)
        form = _form(shape)
        return shape.factored(form, weakened_ranks(cube, form, amount))

    def change(self, shape: Shape, amount: float, seed: int) -> "Callable[[Tensor], Tensor]":
        """See `lesion.compression.vbmf.of_weakened_rank`."""
        from lesion.compression.vbmf import of_weakened_rank

        return partial(of_weakened_rank, form=_form(shape), weakening=amount)


def _form(shape: Shape) -> str:
    return "tucker2" if prod(shape.kernel) > 1 else "svd"


damage = VariationalRank()
