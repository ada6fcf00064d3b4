"""Bits that layers stand, for tools that quantise: which layers, and to how many bits."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesion.errors import LesionError
from lesion.network.anatomy import Anatomy, Layer
from lesion.results.advice import Advice
from lesion.words import points

if TYPE_CHECKING:
    from torch import nn

ALONE = (
    "The study rounded weights alone: it says nothing of activations in few bits. A layer that is "
    "excluded keeps both as they are."
)


@dataclass(frozen=True, eq=False)
class Widths:
    """What a target for a tool that quantises is given: advice on bits, and what else is known.

    advice: of the damage `quantise`; anatomy: of the network that was swept
    bits: the width that the tool quantises to, None where that was not said
    onnx, network: the file whose nodes are meant, and the network that it was made of; None where
        the tool takes the names of torch's modules
    """

    advice: Advice
    anatomy: Anatomy
    bits: int | None = None
    onnx: Path | None = None
    network: "nn.Module | None" = None

    @cached_property
    def reasons(self) -> Mapping[str, str]:
        """What the study says of each layer, in words."""
        return {entry.layer: entry.reason for entry in self.advice.layers}

    def of_each(self, most: int = 8) -> dict[str, int | None]:
        """The bits of each layer: those asked for, or else the fewest that it stands.

        None for a layer of which the study does not say that it stands them, be it sensitive,
        undecided or not measured; one that is safe at some width is taken to stand wider ones.
        most: how many bits the tool has; Raises LesionError where more are asked for
        """
        if self.bits is not None and self.bits > most:
            raise LesionError(
                f"Expected at most {most} bits, which the tool has, got {self.bits}; give --bits "
                f"{most}."
            )
        widths: dict[str, int | None] = {}
        for entry in self.advice.layers:
            safe = int(entry.rate) if entry.status == "safe" else most + 1
            width = safe if self.bits is None else self.bits
            widths[entry.layer] = width if safe <= width <= most else None
        return widths

    def excluded(self, bits: int = 8) -> list[str]:
        """The layers that do not stand the bits asked for, or so many, in order of execution."""
        asked = self.bits or bits
        widths = Widths(self.advice, self.anatomy, asked).of_each(asked)
        return [layer for layer, width in widths.items() if width is None]

    def about(self, excluded: list[str]) -> dict[str, Any]:
        """What every export of this kind says of itself, as JSON values."""
        advice = self.advice
        most = f"{advice.max_drop:g}" if advice.column == "evaluation" else points(advice.max_drop)
        return {
            "made_by": "lesion",
            "subject": dict(advice.subject),
            "goal": f"a layer alone may lose {most}",
            "damage": advice.damage,
            "guarantee": advice.guarantee,
            "caveat": f"{ALONE} {advice.caveat}",
            "excluded": {layer: self.reasons[layer] for layer in excluded},
        }

    def of_network(self, target: str) -> "tuple[Path, nn.Module]":
        """The ONNX file and the network. Raises LesionError where they are missing."""
        if self.onnx is None or self.network is None:
            raise LesionError(
                f"Expected the ONNX file and the network that it was made of for {target}, which "
                "names nodes of that file; give onnx=… and network=… (--onnx, --network)."
            )
        return self.onnx, self.network


def is_module(layer: Layer) -> bool:
    """Whether a layer is a module, with a weight of its own, under its name."""
    return layer.weight == f"{layer.name}.weight"
