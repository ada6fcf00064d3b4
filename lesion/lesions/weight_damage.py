"""Damages of one layer's weight, with options in their names: what they have in common."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from math import inf, prod
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import numpy as np

from lesion.boundary.texts import named
from lesion.compression.footprint import Footprint, Saving, Shape
from lesion.errors import LesionError
from lesion.lesions.amounts import Amounts
from lesion.lesions.damage import Damage, Settings
from lesion.lesions.lesion import Lesion, Skipped, Target, seed_of
from lesion.network.anatomy import Anatomy, Layer, keeps

if TYPE_CHECKING:
    from torch import Tensor

    from lesion.lesions.edits import Edit, Weight
    from lesion.network.dissection import Dissection

BITS = Amounts(
    (8, 6, 4, 3, 2),
    "bit width",
    "bits of the weights",
    "bits",
    of=" of its weights",
    rising=False,
    low=1,
    high=16,
    whole=True,
    example="8 keeps 255 steps, 2 keeps three.",
    closed=True,
    spared="in 32 bits",
)


@dataclass(eq=False)
class WeightDamage(Damage):
    """A damage that puts another weight of the same shape in a layer's place.

    Its fields are its options, which stand behind its name where they are not what they are
    without being named, as in `quantise:per=tensor`.

    word: its name without options; options that are words are Literals of what they may be
    folded: whether it acts on the weight with the batch norm behind it folded in, as where
        quantised networks are deployed; others act on the weight as it is
    slow: whether its weights are kept once they are made
    """

    word: ClassVar[str]
    folded: ClassVar[bool] = False
    slow = False
    scored = False

    def __post_init__(self) -> None:
        changed = {}
        for field in fields(self):
            words, value = get_args(field.type), getattr(self, field.name)
            if words and value not in words:
                raise LesionError(
                    f"Expected {field.name} {' or '.join(words)} for {self.word}, got '{value}'."
                )
            if not words and value != field.default and not 0 < value < inf:
                raise LesionError(f"Expected {field.name} above 0 for {self.word}, got {value}.")
            if value != field.default:
                changed[field.name] = value
        self.name = named(self.word, changed)

    def unfit(self, layer: Layer) -> str:
        """Why a layer cannot have it, "" where it can."""
        return ""

    def nothing(self, shape: Shape, amount: float) -> str:
        """Why an amount does nothing to a layer, "" where it does."""
        return ""

    def left(self, shape: Shape, amount: float) -> Footprint:
        """What the damaged layer costs."""
        return shape.intact()

    def change(self, shape: Shape, amount: float, seed: int) -> "Callable[[Tensor], Tensor]":
        """What is done to its weight (filters, inputs of each, kernel); it can be pickled.

        seed: for what draws
        """
        raise NotImplementedError

    def targets(
        self, anatomy: Anatomy, units: str = "free", layers: Any = ()
    ) -> tuple[list[Target], list[Skipped]]:
        """Every layer that it fits."""
        every, _ = super().targets(anatomy, units, layers)
        reasons = {target: self.unfit(anatomy.layer[target.name]) for target in every}
        skipped = [Skipped(t.name, t.kind, reason) for t, reason in reasons.items() if reason]
        return [target for target, reason in reasons.items() if not reason], skipped

    def lesion(
        self,
        anatomy: Anatomy,
        target: Target,
        amount: float,
        scores: np.ndarray | None,
        settings: Settings,
    ) -> Lesion | Skipped:
        """The lesion, or that this amount does nothing."""
        reason = self.nothing(shape_of(anatomy.layer[target.name]), amount)
        if reason:
            text = self.amounts.text(amount)
            return Skipped(target.name, target.kind, f"{text}: {reason}")
        return super().lesion(anatomy, target, amount, scores, settings)

    def edit(self, dissection: "Dissection", lesion: Lesion, scores: np.ndarray | None) -> "Edit":
        """The other weight."""
        return self.edit_without(dissection, lesion, None)

    def edit_without(
        self, dissection: "Dissection", lesion: Lesion, dropped: np.ndarray | None
    ) -> "Weight":
        """The other weight where the layer reads no channels of the labels in `dropped`: what is
        left of the weight is damaged as the smaller layer's is, and the other columns are zero."""
        from lesion.lesions.layer_weights import Remaining, changed

        anatomy = dissection.anatomy
        layer, stay = anatomy.layer[lesion.target], reads_left(anatomy, lesion.target, dropped)
        shape = replace(shape_of(layer), inputs=int(stay.sum()))
        change = self.change(shape, lesion.amount, seed_of(lesion.seed, layer.name))
        key = f"{self.name} {lesion.amount:g} {lesion.seed}"
        if not stay.all():
            change = Remaining(change, tuple(np.flatnonzero(stay).tolist()))
            key += f" of {change.columns}"
        return changed(dissection, layer, change, key, self.folded, self.slow)

    def footprint(
        self, anatomy: Anatomy, lesion: Lesion, scores: np.ndarray | None = None
    ) -> Saving:
        """Of the layer."""
        shape = shape_of(anatomy.layer[lesion.target])
        return Saving(shape.intact(), self.left(shape, lesion.amount))


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


def shape_of(layer: Layer) -> Shape:
    """A layer as costs see it; of a transposed convolution the positions of its input count."""
    inputs = layer.channels_in // layer.groups
    calls, rest = divmod(layer.positions, max(prod(layer.size), 1))
    turned = layer.kind.startswith("transposed conv")
    size, calls = ((layer.positions,), 1) if rest or turned else (layer.size, calls)
    return Shape(
        layer.channels,
        inputs,
        layer.kernel,
        size,
        layer.size_in,
        calls,
        layer.channels if layer.bias else 0,
        layer.groups,
    )


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
