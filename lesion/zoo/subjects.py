"""What is measured, by the names that a command line gives: scored, evaluated or tried."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lesion.engine.recovery import KNOWN
from lesion.engine.retrain import Recover
from lesion.errors import SubjectError
from lesion.subject.adapter import Adapter, BatchAdapter, Output, without_labels
from lesion.subject.batch import output as output_of
from lesion.subject.checks import check_network
from lesion.subject.ground_truth import class_numbers
from lesion.subject.images import Images
from lesion.subject.network import try_out
from lesion.subject.subject import EXAMPLE_IMAGES, Subject, which
from lesion.zoo import class_names, forms, references
from lesion.zoo.class_labels import Labels, Relabelled, outputs_of
from lesion.zoo.preprocessing import Preprocessing


def open_subject(
    network: str,
    weights: str | None,
    data: str,
    *,
    resize: int | None = None,
    crop: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    classes: int | None = None,
    score: str = "top1",
    workers: int | None = None,
    seed: int = 0,
    train: str | None = None,
    output: str | None = None,
    class_map: str | None = None,
) -> Subject:
    """The subject that the texts name.

    network, data: see `lesion.zoo.forms`'s NETWORK_FORMS and DATA_FORMS
    weights: a file (safetensors or a state_dict); "default", or the name of torchvision's enum
        member or timm's tag; "random", drawn with `seed`. Bundled networks bring their own, and
        factories may load theirs; a named network has none unless asked for
    resize, crop, mean, std: replace that part of the preprocessing, which is otherwise the
        network's own (torchvision's enum, timm's configuration), the data's own, or a mere
        scaling to [0, 1]
    classes: the number of outputs of a named network whose weights come from a file
    score: "top1", "top5", "agreement", "tv", or a function as FILE.py:FUNCTION or
        PACKAGE.MODULE:FUNCTION, see `Subject.of`
    workers: how many processes read images; the DataLoader's own number if a factory made one
    train: training images, see DATA_FORMS, with the same preprocessing
    output: which of several outputs is scored, by its name or place
    class_map: a file that says which outputs the classes of the data are, see
        `lesion.zoo.class_names`; else they go by name where both have names, or by their order

    Raises SubjectError for whatever cannot be found, read, or used together.
    """
    named = Named(network, weights, data, resize, crop, mean, std, classes, seed)
    opened, adapter = named.opened(), _adapter(output)
    images, preprocessing = opened.images(data)
    without = str(getattr(images, "unlabelled", ""))
    if without and score in ("top1", "top5"):
        raise SubjectError(without)
    labels = _labels(named, opened.network, outputs_of(opened.network, images, adapter), class_map)
    if ":" in score:  # a function of the user's may make of labels what it likes
        labels = replace(labels, outputs=0)
    images = labels.put_on(images, data)
    subject = Subject.of(
        opened.network,
        images,
        adapter=adapter,
        name=f"{network} on {data}",
        preprocessing=preprocessing,
        score=references.found(score) if ":" in score else score,
        workers=workers,
        train=train and labels.put_on(opened.images(train)[0], train),
    )
    return replace(subject, class_map=images.text if isinstance(images, Relabelled) else "")


def _labels(named: "Named", network: nn.Module, outputs: int, class_map: str | None) -> Labels:
    """How classes of the data become outputs of the network."""
    return Labels(
        class_names.own(named.network, named.weights, network, outputs),
        class_names.imagenet(outputs),
        outputs,
        None if class_map is None else class_names.read(Path(class_map)),
    )


@dataclass(frozen=True)
class Named:
    """A network and data by their names, with what else is asked of them, see `open_subject`."""

    network: str
    weights: str | None
    data: str
    resize: int | None = None
    crop: int | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    classes: int | None = None
    seed: int = 0

    def opened(self) -> "Opened":
        """The network, and how it takes its images."""
        network, preprocessing = forms.open_network(
            self.network, self.weights, classes=self.classes, seed=self.seed
        )
        parts = {"resize": self.resize, "crop": self.crop, "mean": self.mean, "std": self.std}
        channels = forms.channels_for(network, self.data, preprocessing, parts)
        return Opened(network, preprocessing, {**parts, "channels": channels})


@dataclass(frozen=True, eq=False)
class Opened:
    """A network, and how it takes images: its own preprocessing, and the parts that replace it."""

    network: nn.Module
    preprocessing: Preprocessing | None
    parts: Mapping[str, Any]

    def images(self, data: str) -> tuple[Any, str]:
        """Data as the network takes them, and the text of their preprocessing."""
        return forms.open_data(data, self.preprocessing, **self.parts)

    def example(self, data: str) -> Any:
        """A batch of two images."""
        images = Images.of(self.images(data)[0])
        return images.batch(range(min(EXAMPLE_IMAGES, len(images))))


@dataclass(frozen=True, eq=False)
class Tried:
    """A network that ran on two images, and how; several: see `Subject`."""

    network: nn.Module
    example: Any
    adapter: Adapter
    several: str

    def outputs(self, network: nn.Module, batch: Any) -> Tensor:
        """The tensor that the network gives for a batch."""
        return output_of(self.adapter.forward(network, batch))


def try_network(
    named: Named, output: str | None = None, shape: Sequence[int] | None = None
) -> Tried:
    """A network with the batch that shows what it takes, where nothing is scored.

    output: by which its layers are looked for, where there are several
    shape: of one input, of which noise is made in place of data
    Raises SubjectError as `open_subject` does.
    """
    opened = named.opened()
    network, example = opened.network, noise(shape) if shape else opened.example(named.data)
    adapter = _adapter(output) or BatchAdapter()
    try:
        class_numbers(adapter.targets(example))
    except SubjectError:
        adapter = without_labels(adapter, network, example)
    check_network(network)
    outputs = try_out(network, adapter, example)
    return Tried(network, example, adapter, which(outputs, False))


def _adapter(output: str | None) -> Adapter | None:
    """The adapter that scores an output, by its name, or its place if that is a number."""
    if output is None:
        return None
    return Output(int(output) if output.isdecimal() else output)


def noise(shape: Sequence[int]) -> Tensor:
    """A batch of two inputs of noise, the same at every call."""
    return torch.randn(EXAMPLE_IMAGES, *shape, generator=torch.Generator().manual_seed(0))


def open_recovery(text: str) -> str | Recover:
    """The recovery that a text names: a function as FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION.

    Texts that `lesion.engine.recovery.parse` knows stay what they are.
    """
    known = text.partition(",")[0].partition(":")[0] in KNOWN
    return references.found(text) if ":" in text and not known else text


def open_runtime(text: str) -> Any:
    """The runtime that a text names: a function as FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION."""
    return references.found(text) if ":" in text else text


def open_evaluation(
    network: str,
    weights: str | None,
    data: str,
    evaluate: str,
    *,
    resize: int | None = None,
    crop: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    classes: int | None = None,
    seed: int = 0,
) -> tuple[nn.Module, Any, Any]:
    """The network, the function `evaluate`, and a batch of two images that shows the layers.

    evaluate: FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION, see `lesion.evaluate`; for the others
    see `open_subject`
    """
    opened = Named(network, weights, data, resize, crop, mean, std, classes, seed).opened()
    return opened.network, references.found(evaluate), opened.example(data)
