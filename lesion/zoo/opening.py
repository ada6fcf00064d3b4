"""Which network, weights and images a command line names."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lesion.errors import SubjectError
from lesion.subject import Subject
from lesion.zoo import (
    arrays,
    checkpoints,
    demo,
    image_folder,
    references,
    timm_networks,
    torchvision_networks,
    torchvision_sets,
)
from lesion.zoo.image_folder import ClassFolders
from lesion.zoo.preprocessing import Preprocessing

NETWORK_FORMS = (
    "demo:resnet20, demo:resnet56, torchvision:NAME, timm:NAME, FILE.py:FACTORY or "
    "PACKAGE.MODULE:FACTORY"
)
DATA_FORMS = (
    "demo:fashion-mnist, imagefolder:DIR, torchvision:SET:ROOT, npz:FILE, FILE.py:FACTORY or "
    "PACKAGE.MODULE:FACTORY"
)


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
    workers: int | None = None,
    seed: int = 0,
) -> Subject:
    """The subject that the texts name.

    network, data: see NETWORK_FORMS and DATA_FORMS
    weights: a file (safetensors or a state_dict); "default", or the name of torchvision's enum
        member or timm's tag; "random", drawn with `seed`. Bundled networks bring their own, and
        factories may load theirs; a named network has none unless asked for
    resize, crop, mean, std: replace that part of the preprocessing, which is otherwise the
        network's own (torchvision's enum, timm's configuration), the data's own, or a mere
        scaling to [0, 1]
    classes: the number of outputs of a named network whose weights come from a file
    workers: how many processes read images; the DataLoader's own number if a factory made one

    Raises SubjectError for whatever cannot be found, read, or used together.
    """
    module, own = open_network(network, weights, classes=classes, seed=seed)
    images, preprocessing = open_data(data, own, resize=resize, crop=crop, mean=mean, std=std)
    subject = Subject.of(
        module, images, name=f"{network} on {data}", preprocessing=preprocessing, workers=workers
    )
    if isinstance(images, ClassFolders):
        image_folder.check_classes(images, subject.classes)
    return subject


def open_network(
    network: str, weights: str | None = None, *, classes: int | None = None, seed: int = 0
) -> tuple[nn.Module, Preprocessing | None]:
    """The network, with its weights, and the preprocessing that belongs to it if it is known."""
    form, _, name = network.partition(":")
    with seeded(seed):
        if form == "demo":
            return demo.open_network(name, weights, classes)
        if form == "torchvision":
            return torchvision_networks.open_network(name, _asked_for(weights, network), classes)
        if form == "timm":
            return timm_networks.open_network(name, _asked_for(weights, network), classes)
        if name:
            return _from_factory(network, weights, classes, seed), None
    known = network in torchvision_networks.names()
    hint = f"did you mean torchvision:{network}?" if known else "check the name."
    raise SubjectError(f"Expected the network as {NETWORK_FORMS}, got '{network}'; {hint}")


def _asked_for(weights: str | None, network: str) -> str:
    if weights is None:
        raise SubjectError(
            f"Expected weights for {network}, which is only a name, got none; add "
            "--weights default (pretrained), --weights FILE or --weights random."
        )
    return weights


def _from_factory(reference: str, weights: str | None, classes: int | None, seed: int) -> nn.Module:
    if classes is not None:
        raise SubjectError(
            f"Expected a number of classes for named networks only, got {classes} for "
            f"{reference}; let the function make a network of that many outputs."
        )
    if weights in ("default", "random"):
        raise SubjectError(
            f"Expected a file of weights for {reference}, got '{weights}'; leave --weights out "
            "to measure the network as the function returns it."
        )
    network = _made(reference, seed)
    if not isinstance(network, nn.Module):
        raise SubjectError(
            f"Expected {reference} to return a torch.nn.Module, got {type(network).__name__}; "
            "mend the function."
        )
    if weights is not None:
        checkpoints.load(network, Path(weights))
    return network


def open_data(
    data: str,
    own: Preprocessing | None = None,
    *,
    resize: int | None = None,
    crop: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int = 0,
) -> tuple[Any, str]:
    """The Dataset or DataLoader, and the text of its preprocessing.

    own: the network's preprocessing, of which resize, crop, mean, std replace parts
    seed: where torch's random numbers start in a factory, so that a random split is always the same
    """
    given = any(part is not None for part in (resize, crop, mean, std))
    if own is None:
        own = demo.PREPROCESSING if data == "demo:fashion-mnist" else Preprocessing()
    preprocessing = own.changed(resize, crop, mean, std)
    form, _, name = data.partition(":")
    if form == "imagefolder" and name:
        return image_folder.open_folder(Path(name), preprocessing), preprocessing.text
    if form == "torchvision" and ":" in name:
        chosen, _, root = name.partition(":")
        return torchvision_sets.open_set(chosen, Path(root), preprocessing), preprocessing.text
    if form == "npz" and name:
        return _from_npz(Path(name), preprocessing, given)
    if data == "demo:fashion-mnist":
        return arrays.bundled(preprocessing), preprocessing.text
    if form in ("demo", "imagefolder", "torchvision", "npz") or not name:
        raise SubjectError(f"Expected the data as {DATA_FORMS}, got '{data}'; check the name.")
    if given:
        raise SubjectError(
            f"Expected no preprocessing for {data}, whose items are taken as they are, "
            "got --resize, --crop, --mean or --std; do it in the function."
        )
    return _made(data, seed), f"as {data} gives them"


def _made(reference: str, seed: int) -> Any:
    factory = references.found(reference)
    with seeded(seed):  # after the import, which draws numbers only the first time
        return references.made(factory, reference)


def _from_npz(path: Path, preprocessing: Preprocessing, given: bool) -> tuple[Any, str]:
    """Images of bytes are preprocessed; images of floats only if that is asked for."""
    images, labels = arrays.read_npz(path)
    if images.is_floating_point() and not given:
        return arrays.Arrays(images, labels, None), "floats as they are"
    return arrays.Arrays(images, labels, preprocessing), preprocessing.text


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's random numbers (CPU) start at `seed` within, and go on as before afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
