"""groups: filters that read their own group of inputs alone (Ioannou et al. 2017)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from lesion.compression.footprint import Footprint, Shape
from lesion.lesions.amounts import Amounts
from lesion.lesions.weight_damage import WeightDamage
from lesion.network.anatomy import Layer

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(eq=False)
class Groups(WeightDamage):
    """The weights off the diagonal blocks are zero, as in a convolution in groups, the channels in
    their order; an amount is how many groups."""

    word = "groups"
    amounts = Amounts(
        (2, 4, 8),
        "number of groups",
        "groups of filters",
        "groups",
        low=1,
        whole=True,
        example="2 keeps half of the weights.",
    )

    def unfit(self, layer: Layer) -> str:
        """Where there are groups already."""
        return "it has groups already" if layer.groups > 1 else ""

    def nothing(self, shape: Shape, amount: float) -> str:
        """Where channels do not divide into the groups."""
        if shape.filters % amount or shape.inputs % amount:
            return f"{shape.inputs} inputs and {shape.filters} filters are no multiples of it"
        return ""

    def left(self, shape: Shape, amount: float) -> Footprint:
        """The blocks; dense kernels know groups."""
        return shape.sparse(shape.numbers // int(amount), 0, dense=False)

    def change(self, shape: Shape, amount: float, seed: int) -> "Callable[[Tensor], Tensor]":
        """See `lesion.compression.grains.block_diagonal`."""
        from lesion.compression.grains import block_diagonal

        return partial(block_diagonal, groups=int(amount))


damage = Groups()
