"""Networks with planted advice on bits, to be handed to tools that quantise."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import torch
import torchvision
from torch import nn

import lesion
from lesion.exports.export import export
from lesion.lesions.weight_damage import BITS
from lesion.network.anatomy import Anatomy
from lesion.results.advice import Advice, LayerAdvice
from lesion.zoo import demo

SUBJECT = {"weights": "3f5a"}
STOOD = (8, None, 4, 6, None, 3)  # the fewest bits that layers stand, by turns; None for none
STATUS = ("sensitive", "undecided", "unmeasured")  # of those that stand none


def advice_of(bits: Mapping[str, int | None], damage: str = "quantise") -> Advice:
    """Advice by which the layers stand so few bits."""
    entries = tuple(
        _entry(place, name, fewest) for place, (name, fewest) in enumerate(bits.items())
    )
    return Advice(1.0, 95, "top1", "", 100, 90.0, entries, (), "All of it is planted.",
                  damage=damage, amounts=BITS, subject=SUBJECT)  # fmt: skip


def _entry(place: int, name: str, fewest: int | None) -> LayerAdvice:
    status = STATUS[place % len(STATUS)] if fewest is None else "safe"
    drop = None if fewest is None else 0.5
    return LayerAdvice(name, place, None, name, "layer", status, float(fewest or 0), None,
                       status == "sensitive", drop, drop, drop, f"planted {status}")  # fmt: skip


@dataclass(frozen=True, eq=False)
class Case:
    """A network in evaluation mode, images for it, and the fewest bits that its layers stand."""

    whole: nn.Module
    images: torch.Tensor
    anatomy: Anatomy
    bits: Mapping[str, int | None]

    @property
    def network(self) -> nn.Module:
        """A copy of the network, to be quantised."""
        return copy.deepcopy(self.whole)

    def excluded(self, most: int = 8) -> list[str]:
        """The layers that do not stand so few bits."""
        return [name for name, fewest in self.bits.items() if not fewest or fewest > most]

    def exported(self, to: str, **more) -> str:
        """What an export writes for the network."""
        return export(advice_of(self.bits), to, anatomy=self.anatomy, **more)

    def onnx(self, path, dynamo: bool = True):
        """The network as an ONNX file."""
        torch.onnx.export(self.network, (self.images,), path, dynamo=dynamo, verbose=False)
        return path


@cache
def case(name: str) -> Case:
    """ResNet-20 with its weights, or torchvision's mobilenet_v3_small with random ones."""
    if name == "resnet20":
        network, images = demo.open_network("resnet20", None, None)[0], torch.zeros(2, 1, 28, 28)
    else:
        torch.manual_seed(0)
        network = torchvision.models.mobilenet_v3_small(weights=None)
        images = torch.zeros(2, 3, 64, 64)
    images.normal_(generator=torch.Generator().manual_seed(0))
    anatomy = lesion.layers(network.eval(), images)
    names = [layer.name for layer in anatomy.layers]
    bits = {layer: STOOD[place % len(STOOD)] for place, layer in enumerate(names)}
    return Case(network, images, anatomy, bits)


def modules(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The convolutions and linear layers that torch knows, by name, whatever lesion says."""
    for name, module in network.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            yield name, module
