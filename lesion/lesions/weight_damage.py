"""Damages of one layer's weight, with options in their names: what they have in common."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from lesion.compression.footprint import Shape
from lesion.errors import LesionError
from lesion.lesions.amounts import Amounts
from lesion.lesions.layer_damage import LayerDamage, bits_of, shape_of
from lesion.lesions.lesion import Lesion, seed_of
from lesion.network.anatomy import Anatomy, keeps

if TYPE_CHECKING:
    from torch import Tensor

    from lesion.lesions.edits import Edit, Weight
    from lesion.network.dissection import Dissection

BITS = bits_of("weights", "in 32 bits", "8 keeps 255 steps, 2 keeps three.")


@dataclass(eq=False)
class WeightDamage(LayerDamage):
    """A damage that puts another weight of the same shape in a layer's place.

    folded: whether it acts on the weight with the batch norm behind it folded in, as where
        quantised networks are deployed; others act on the weight as it is
    slow: whether its weights are kept once they are made
    mixes: whether rates within a budget may take it: what the layer then costs follows from its
        shape
    """

    folded: ClassVar[bool] = False
    mixes = True
    slow = False

    def change(self, shape: Shape, amount: float, seed: int) -> "Callable[[Tensor], Tensor]":
        """What is done to its weight (filters, inputs of each, kernel); it can be pickled.

        seed: for what draws
        """
        raise NotImplementedError

    def input_change(
        self, lesion: Lesion, scores: np.ndarray | None
    ) -> "Callable[[Tensor], Tensor] | None":
        """What the layer's input passes through as well, by what is known of it; None for nothing.

        It keeps zeros, and can be pickled.
        """
        return None

    def edit(self, dissection: "Dissection", lesion: Lesion, scores: np.ndarray | None) -> "Edit":
        """The other weight, behind what its input passes through."""
        from lesion.lesions.value_edits import reading_through

        weight = self.edit_without(dissection, lesion, None, scores)
        change = self.input_change(lesion, scores)
        return reading_through(weight, dissection, lesion.target, change)

    def edit_without(
        self,
        dissection: "Dissection",
        lesion: Lesion,
        dropped: np.ndarray | None,
        scores: np.ndarray | None = None,
    ) -> "Edit":
        """The other weight where the layer reads no channels of the labels in `dropped`: what is
        left of the weight is damaged as the smaller layer's is, and the other columns are zero."""
        shape = shape_without(dissection.anatomy, lesion.target, dropped)
        change = self.change(shape, lesion.amount, seed_of(lesion.seed, lesion.target))
        return self.changed(dissection, lesion, dropped, change)

    def changed(
        self,
        dissection: "Dissection",
        lesion: Lesion,
        dropped: np.ndarray | None,
        change: "Callable[[Tensor], Tensor]",
        seen: str = "",
    ) -> "Weight":
        """The edit that does so to what is left of the layer's weight.

        seen: a text that tells what the change depends on besides the weight, if it does
        """
        from lesion.lesions.layer_weights import Remaining, changed

        anatomy = dissection.anatomy
        layer, stay = anatomy.layer[lesion.target], reads_left(anatomy, lesion.target, dropped)
        key = f"{self.name} {lesion.amount:g} {lesion.seed}{seen}"
        if not stay.all():
            change = Remaining(change, tuple(np.flatnonzero(stay).tolist()))
            key += f" of {change.columns}"
        return changed(dissection, layer, change, key, self.folded, self.slow)


class PartialDamage(WeightDamage):
    """A damage of a share of a layer's weights, drawn at random; an amount is the share."""

    def nothing(self, shape: Shape, amount: float) -> str:
        """Where a share, rounded, is none."""
        few = round(amount * shape.numbers) == 0
        return f"of {shape.numbers} weights, rounded, is none" if few else ""

    @staticmethod
    def shares(done: str) -> Amounts:
        """Shares of the weights, to all of them; done: what is done to these, in a word or two."""
        return Amounts(
            (0.1, 0.25, 0.5, 1.0),
            "share of weights",
            f"weights {done}",
            "%",
            100.0,
            of=f" of its weights {done}",
            high=1.0,
            example="0.5 takes half of the weights.",
            closed=True,
            spared="as it is",
        )


def shape_without(anatomy: Anatomy, layer: str, dropped: np.ndarray | None) -> Shape:
    """A layer as costs see it where it reads no channels of some labels."""
    stay = reads_left(anatomy, layer, dropped)
    return replace(shape_of(anatomy.layer[layer]), inputs=int(stay.sum()))


def reads_left(anatomy: Anatomy, layer: str, dropped: np.ndarray | None) -> np.ndarray:
    """Which inputs of each filter of a layer stay, as booleans, where labels are gone.

    Raises LesionError where the groups of a layer lose inputs: which ones differs by group.
    """
    reading = anatomy.layer[layer]
    inputs = len(reading.reads) // reading.groups
    if dropped is None or reading.depthwise:
        return np.ones(inputs, bool)
    stay = keeps(reading.reads, dropped)
    if stay.all():
        return np.ones(inputs, bool)
    if reading.groups > 1:
        raise LesionError(f"the groups of {layer} lose inputs of their own")
    return stay
