"""low_rank: layers as if factored into smaller ones (Zhang, Tai, Kim, Lebedev and others)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Literal

from lesion.compression.footprint import Footprint, Shape
from lesion.lesions.amounts import FILTERS
from lesion.lesions.ratios import kept
from lesion.lesions.weight_damage import WeightDamage
from lesion.network.anatomy import Layer

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(eq=False)
class LowRank(WeightDamage):
    """The weight that a layer's factors compose; an amount is the share of its MACs that they save.

    form: "svd", the whole kernel to r channels and 1×1 behind it; "spatial", k×1 and 1×k;
        "tucker2", 1×1, k×k and 1×1; "cp", 1×1, k×1 and 1×k for each channel, 1×1: see
        `lesion.compression.factors`.  The rank is the largest whose MACs are no more than may
        remain, and at least 1; of tucker2 both ranks lose the same share.

    Batch norm is not folded.
    """

    form: Literal["svd", "spatial", "tucker2", "cp"] = "svd"

    word = "low_rank"
    slow = True
    amounts = replace(
        FILTERS,
        grid=(0.25, 0.5, 0.75, 0.9),
        called="share of MACs saved",
        title="MACs saved by low rank",
        of=" of its MACs saved",
        example="0.5 leaves factors with half of the layer's MACs.",
        spared="in full rank",
    )

    def unfit(self, layer: Layer) -> str:
        """Where there is nothing to factor."""
        if layer.groups > 1:
            return "it has groups, each of which would be factored by itself"
        if layer.kind.startswith("transposed conv"):
            return "it is a transposed convolution"
        if self.form != "svd" and prod(layer.kernel) == 1:
            return "its kernel has one position: form=svd fits it"
        if self.form in ("spatial", "cp") and len(layer.kernel) != 2:
            return f"{self.form} is for kernels in two dimensions"
        return ""

    def nothing(self, shape: Shape, amount: float) -> str:
        """Where the lowest rank costs no less than the layer."""
        whole, left = shape.intact().macs, self.left(shape, amount).macs
        return "factors of the lowest rank have no fewer MACs" if left >= whole else ""

    def left(self, shape: Shape, amount: float) -> Footprint:
        """The factors."""
        return shape.factored(self.form, ranks(shape, self.form, amount))

    def change(self, shape: Shape, amount: float, seed: int) -> "Callable[[Tensor], Tensor]":
        """See `lesion.compression.factors`."""
        from lesion.compression.factors import of_rank

        return partial(of_rank, form=self.form, ranks=ranks(shape, self.form, amount), seed=seed)


def ranks(shape: Shape, form: str, saved: float) -> tuple[int, ...]:
    """The largest ranks whose MACs are no more than remain when a share is saved, at least 1.

    >>> conv = Shape(128, 64, (3, 3), (16, 16), (16, 16))
    >>> ranks(conv, "spatial", 0.25), ranks(conv, "svd", 0.5), ranks(conv, "tucker2", 0.6)
    ((96,), (52,), (32, 65))
    """
    most = shape.intact().macs * (1 - saved) * (1 + 1e-9)
    if form != "tucker2":
        return (max(1, int(most / shape.factored(form, (1,)).macs)),)
    steps = {i / n for n in (shape.inputs, shape.filters) for i in range(n)}
    for step in sorted(steps):
        pair = kept(shape.inputs, step), kept(shape.filters, step)
        if shape.factored(form, pair).macs <= most:
            return pair
    return 1, 1


damage = LowRank()
