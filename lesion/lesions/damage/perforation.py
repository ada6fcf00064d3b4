"""perforation: a share of the outputs is copied from their neighbours (Figurnov et al. 2016)."""

from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Literal

import numpy as np

from lesion.compression.footprint import Footprint, Shape
from lesion.lesions.amounts import Amounts
from lesion.lesions.layer_damage import LayerDamage, shape_of
from lesion.lesions.lesion import Lesion, seed_of
from lesion.network.anatomy import Layer

if TYPE_CHECKING:
    from lesion.lesions.edits import Edit
    from lesion.network.dissection import Dissection


@dataclass(eq=False)
class Perforation(LayerDamage):
    """Outputs of a convolution at some positions are not computed, but those of the nearest that
    are; an amount is the share of positions that are not.

    mask: "grid" or "random", by the seed: see `lesion.compression.perforation.computed`.  A grid of
    a small feature map may leave out more than was asked for; what is saved counts what it does.
    """

    mask: Literal["grid", "random"] = "grid"

    word = "perforation"
    amounts = Amounts(
        (0.25, 0.5, 0.75),
        "share of positions",
        "positions copied",
        "%",
        100.0,
        of=" of its positions copied",
        high=1.0,
        example="0.5 computes half of them.",
        spared="at all positions",
    )

    def unfit(self, layer: Layer) -> str:
        """Where there are no positions beside each other, or not the same ones in each pass."""
        if layer.kind == "linear" or layer.kind.startswith("transposed"):
            return "it is no convolution" if layer.kind == "linear" else "it is transposed"
        if not layer.size or layer.positions % prod(layer.size):
            return "its feature map is not of one size"
        return "it has one output position" if prod(layer.size) == 1 else ""

    def left(self, shape: Shape, amount: float) -> Footprint:
        """All weights, at fewer positions."""
        from lesion.compression.perforation import computed

        count = int(computed(shape.size, amount, self.mask).sum())
        return replace(shape, size=(count,)).intact()

    def edit(self, dissection: "Dissection", lesion: Lesion, scores: np.ndarray | None) -> "Edit":
        """What the layer gives is copied from position to position."""
        from lesion.compression.perforation import computed, nearest, perforated
        from lesion.lesions.value_edits import Values

        layer = dissection.anatomy.layer[lesion.target]
        seed = seed_of(lesion.seed, layer.name)
        stays = computed(shape_of(layer).size, lesion.amount, self.mask, seed)
        change = partial(perforated, source=nearest(stays))
        key = f"{self.name} {lesion.amount:g} {lesion.seed}"
        return Values.of(dissection, layer.name, key, after=change)


damage = Perforation()
