"""sparsity: weights, or groups of them, that are zero (Han et al. 2015 and others)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Literal

from lesion.compression.footprint import Footprint, Shape
from lesion.lesions.amounts import FILTERS, RATIOS
from lesion.lesions.ratios import kept
from lesion.lesions.weight_damage import WeightDamage
from lesion.network.anatomy import Layer

if TYPE_CHECKING:
    from torch import Tensor

MASKED = ("weight", "vector", "kernel", "column", "position")  # where bits say which are zero
SMALLER = ("column", "position", "input_channel")  # of which dense kernels have a smaller matrix


@dataclass(eq=False)
class Sparsity(WeightDamage):
    """The groups of a grain that score lowest are zero; an amount is the share of them.

    grain: "weight", "vector", "kernel", "column", "input_channel" or "position", see
        `lesion.compression.grains.members`; score: the sum of "abs" or "square" of a group's
        weights, or "random".

    Batch norm is not folded.
    """

    grain: Literal["weight", "vector", "kernel", "column", "input_channel", "position"] = "weight"
    score: Literal["abs", "square", "random"] = "abs"

    word = "sparsity"
    slow = True
    amounts = replace(
        FILTERS,
        grid=RATIOS,
        called="share of zeros",
        title="weights that are zero",
        of=" of its weights",
        example="0.5 makes half of the weights zero.",
        spared="dense",
    )

    def unfit(self, layer: Layer) -> str:
        """Where the grain is another one."""
        if self.grain in ("vector", "kernel", "position") and prod(layer.kernel) == 1:
            if self.grain == "position":
                return "its kernels have one position"
            return "its kernels are of one weight, as those of grain weight"
        if self.grain in ("column", "input_channel") and layer.depthwise:
            whole = "weight" if self.grain == "column" else "filter"
            return f"depthwise: each {self.grain.replace('_', ' ')} is a {whole}"
        return ""

    def nothing(self, shape: Shape, amount: float) -> str:
        """Where a ratio, rounded, is none."""
        groups = shape.group_count(self.grain)
        if kept(groups, amount) < groups:
            return ""
        return f"of {groups} {'weights' if self.grain == 'weight' else 'groups'}, rounded, is none"

    def left(self, shape: Shape, amount: float) -> Footprint:
        """What is not zero, and a bit for each group that says whether it is."""
        groups = shape.group_count(self.grain)
        stays = kept(groups, amount) * (shape.numbers // groups)
        masked = groups if self.grain in MASKED else 0
        return shape.sparse(stays, masked, dense=self.grain not in SMALLER)

    def change(self, shape: Shape, amount: float, seed: int) -> "Callable[[Tensor], Tensor]":
        """See `lesion.compression.grains.sparse`."""
        from lesion.compression.grains import sparse

        return partial(
            sparse,
            grain=self.grain,
            kept=kept(shape.group_count(self.grain), amount),
            score=self.score,
            groups=shape.groups,
            seed=seed,
        )


damage = Sparsity()
