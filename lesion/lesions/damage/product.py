"""product: sub-vectors of inputs that share centroids (Gong et al. 2014; Wu et al. 2016)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from lesion.compression.footprint import Footprint, Shape
from lesion.lesions.weight_damage import BITS, WeightDamage
from lesion.network.anatomy import Layer

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(eq=False)
class Product(WeightDamage):
    """Each run of inputs, in all filters and at all positions, takes one of 2^bits centroids; an
    amount is the number of bits of a sub-vector.

    length: of a sub-vector.  Seeds matter.  Batch norm is not folded.
    """

    length: int = 8

    word = "product"
    slow = True
    amounts = replace(
        BITS,
        grid=(8, 6, 4, 2),
        low=0,
        high=8,
        title="bits of a sub-vector",
        of=" a sub-vector",
        example="8 keeps 256 centroids for each run of inputs.",
    )

    def unfit(self, layer: Layer) -> str:
        """Where inputs are no multiple of the length."""
        inputs = layer.channels_in // layer.groups
        return f"its {inputs} inputs are no multiple of {self.length}" * (inputs % self.length > 0)

    def nothing(self, shape: Shape, amount: float) -> str:
        """Where each sub-vector has a centroid of its own."""
        vectors = shape.numbers // shape.inputs
        few = 2 ** int(amount) >= vectors
        return f"it has no more than {vectors} sub-vectors of each run of inputs" if few else ""

    def left(self, shape: Shape, amount: float) -> Footprint:
        """An index for each sub-vector, and the codebooks."""
        return shape.in_vectors(self.length, int(amount))

    def change(self, shape: Shape, amount: float, seed: int) -> "Callable[[Tensor], Tensor]":
        """See `lesion.compression.codebooks.product`."""
        from lesion.compression.codebooks import product

        return partial(product, length=self.length, values=2 ** int(amount), seed=seed)


damage = Product()
