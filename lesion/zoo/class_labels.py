"""Which output of the network each class of the data is.

By a class map of the user's; else by the classes' names, where network and data both have some;
else by their order, where there are as many classes as outputs.
"""

import difflib
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from lesion.errors import SubjectError
from lesion.subject.adapter import Adapter, Output, Unlabelled
from lesion.subject.batch import logits
from lesion.subject.images import Images
from lesion.subject.network import try_out
from lesion.subject.subject import EXAMPLE_IMAGES
from lesion.zoo import timm_networks
from lesion.zoo.class_names import Names

NAMED = ("imagefolder", "torchvision", "hf")  # forms of data whose classes may have names
SHOWN = 3
NONE = -1  # the output of a class without images
WORDNET = re.compile(r"n\d{8}")


@dataclass(frozen=True, eq=False)
class Relabelled(Dataset[Any]):
    """Images with their labels as outputs of the network, which `outputs` gives by label."""

    images: Any
    outputs: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        image, label = self.images[index]
        return image, self.outputs[label] if label >= 0 else label

    @property
    def text(self) -> str:
        """Which outputs they are, in the order of the classes; equal texts are equal maps."""
        text = " ".join(map(str, self.outputs))
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        return text if len(text) <= 40 else f"{len(self.outputs)} classes, {digest}"


@dataclass(frozen=True)
class Labels:
    """How classes of data become outputs of a network.

    own, common: names of the outputs, by the network itself, and by what so many outputs mostly are
    outputs: how many there are, 0 where that does not matter
    mapped: names in a class map of the user's
    """

    own: Names | None
    common: Names | None
    outputs: int
    mapped: Names | None

    def put_on(self, images: Any, data: str) -> Any:
        """The images with outputs as labels; themselves where the labels are that already."""
        classes = classes_in(images) if data.partition(":")[0] in NAMED else []
        if not classes:
            if self.mapped is not None:
                raise SubjectError(
                    "Expected data whose classes have names for the class map "
                    f"{self.mapped.where}, got {data}; leave --class-map out, and number the "
                    "classes where the data are made."
                )
            return images
        places = self._places(classes, _seen(images, len(classes)), data)
        return images if places == tuple(range(len(classes))) else Relabelled(images, places)

    def _places(
        self, classes: Sequence[tuple[str, ...]], seen: frozenset[int], data: str
    ) -> tuple[int, ...]:
        if self.mapped is not None:
            return tuple(
                self._mapped(self.mapped, names, label in seen)
                for label, names in enumerate(classes)
            )
        places = [self._known(names) for names in classes]
        unknown = [classes[label][0] for label in sorted(seen) if len(places[label]) != 1]
        if not unknown and (self.own or self.common):
            return tuple(place[0] if len(place) == 1 else NONE for place in places)
        if self.outputs and (len(classes) != self.outputs or self._some_are(classes)):
            raise SubjectError(self._unlike(classes, unknown, data))
        return tuple(range(len(classes)))

    def _mapped(self, mapped: Names, names: tuple[str, ...], seen: bool) -> int:
        places = next(filter(None, (mapped.outputs(name) for name in names)), ())
        if not seen and not places:
            return NONE
        if len(places) != 1:
            what = f"the outputs {', '.join(map(str, places))}" if places else "none"
            raise SubjectError(
                f"Expected one output for the class '{names[0]}' in the class map {mapped.where}, "
                f"found {what}; {'drop the others' if places else 'add it'}."
            )
        if not 0 <= places[0] < (self.outputs or places[0] + 1):
            last = self.outputs - 1 if self.outputs else "…"
            raise SubjectError(
                f"Expected outputs from 0 to {last} in the class map {mapped.where}, got "
                f"{places[0]} for the class '{names[0]}'; count them from 0."
            )
        return places[0]

    def _known(self, names: tuple[str, ...]) -> tuple[int, ...]:
        """The output of a class; several where its names leave that open, () for unknown ones."""
        sources = [known for known in (self.own, self.common) if known]
        every = [known.outputs(name) for name in names for known in sources]
        every = [places for places in every if places]
        return next((places for places in every if len(places) == 1), every[0] if every else ())

    def _some_are(self, classes: Sequence[tuple[str, ...]]) -> bool:
        """Whether some classes are the network's own by name, so that their order means nothing."""
        return self.own is not None and any(self._known(names) for names in classes)

    def _unlike(self, classes: Sequence[tuple[str, ...]], unknown: Sequence[str], data: str) -> str:
        """What to do where classes are no outputs."""
        if self.own and self._some_are(classes):
            close = difflib.get_close_matches(unknown[0], self.own.exact, 1, 0.7)
            hint = f"did you mean '{close[0]}'? Rename it, or" if close else "rename it, or"
            several = self._known((unknown[0],))
            what = f"is several ({', '.join(map(str, several))})" if several else "is none"
            return (
                f"Expected classes that are the network's, but '{unknown[0]}' in {data} {what} of "
                f"them; {hint} say with --class-map FILE which outputs the classes are."
            )
        shown = ", ".join(names[0] for names in classes[:SHOWN])
        shown += ", …" if len(classes) > SHOWN else ""
        if len(unknown) < len(classes):
            shown += f"; '{unknown[0]}' is no class that is known"
        hint = ""
        if any(WORDNET.fullmatch(name) for name in unknown) and not timm_networks.installed():
            hint = 'install timm, which knows ImageNet\'s folders (pip install "lesion[timm]"), '
        missing = "imagefolder" in data and len(classes) < self.outputs
        folders = ", add the missing folders (they may be empty)" if missing else ""
        return (
            f"Expected {self.outputs} classes in {data}, one for each output of the network, found "
            f"{len(classes)} ({shown}); {hint}say with --class-map FILE which outputs they "
            f"are{folders}, or use images without classes and --score agreement."
        )


def classes_in(images: Any) -> list[tuple[str, ...]]:
    """The names of each class of a data set, by its label; [] where it has no names."""
    classes = getattr(images, "classes", None) or ()
    numbers = getattr(images, "wnids", None) or [()] * len(classes)
    return [
        (*_texts(number), *_texts(names)) for number, names in zip(numbers, classes, strict=True)
    ]


def _texts(names: Any) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(map(str, names))


def _seen(images: Any, classes: int) -> frozenset[int]:
    """The labels that have images, all where that is not known."""
    labels = getattr(images, "targets", None)
    there = range(classes) if labels is None else torch.as_tensor(labels).tolist()
    return frozenset(label for label in there if label >= 0)


def outputs_of(network: nn.Module, images: Any, adapter: Adapter | None) -> int:
    """How many classes a network tells apart, 0 where its outputs are no logits, or where classes
    have no names.

    What is wrong with network or images is said later.
    """
    if not classes_in(images):
        return 0
    try:
        opened = Images.of(images)
        batch = opened.batch(range(min(EXAMPLE_IMAGES, len(opened))))
        inputs = batch[0] if isinstance(batch, (tuple, list)) else batch
        plain = (
            Output(adapter.output, Unlabelled()) if isinstance(adapter, Output) else Unlabelled()
        )
        return max(2, logits(try_out(network, plain, inputs)).shape[1])
    except SubjectError:
        return 0
