"""Damages of single layers, with options in their names: what they have in common."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import inf, prod
from typing import ClassVar, get_args

import numpy as np

from lesion.boundary.texts import named
from lesion.compression.footprint import Footprint, Saving, Shape
from lesion.errors import LesionError
from lesion.lesions.amounts import Amounts
from lesion.lesions.damage import Damage, Settings
from lesion.lesions.lesion import Lesion, Skipped, Target
from lesion.network.anatomy import Anatomy, Layer


@dataclass(eq=False)
class LayerDamage(Damage):
    """A damage of one layer at a time.

    Its fields are its options, which stand behind its name where they are not what they are
    without being named, as in `quantise:per=tensor`.

    word: its name without options; options that are words are Literals of what they may be
    """

    word: ClassVar[str]
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

    def targets(
        self, anatomy: Anatomy, units: str = "free", layers: Sequence[str] = ()
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

    def footprint(
        self, anatomy: Anatomy, lesion: Lesion, scores: np.ndarray | None = None
    ) -> Saving | None:
        """Of the layer."""
        shape = shape_of(anatomy.layer[lesion.target])
        return Saving(shape.intact(), self.left(shape, lesion.amount))


def check_percentile(percentile: float) -> None:
    """Raises LesionError for a percentile above 100."""
    if percentile > 100:
        raise LesionError(f"Expected a percentile up to 100, got {percentile:g}.")


def bits_of(what: str, spared: str, example: str) -> Amounts:
    """Amounts that are numbers of bits, of what a layer has or reads."""
    return Amounts(
        (8, 6, 4, 3, 2),
        "bit width",
        f"bits of the {what}",
        "bits",
        of=f" of its {what}",
        rising=False,
        low=1,
        high=16,
        whole=True,
        example=example,
        closed=True,
        spared=spared,
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
