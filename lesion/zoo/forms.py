"""A network with its weights, and data, by the names that a command line gives."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lesion.errors import SubjectError
from lesion.subject.adapter import Unlabelled
from lesion.subject.images import Images
from lesion.subject.network import try_out
from lesion.subject.subject import EXAMPLE_IMAGES
from lesion.zoo import (
    arrays,
    checkpoints,
    demo,
    huggingface_sets,
    image_folder,
    references,
    timm_networks,
    torchvision_networks,
    torchvision_sets,
    transformers_networks,
)
from lesion.zoo.preprocessing import COLOUR, GREY, Preprocessing

NETWORK_FORMS = (
    "demo:resnet20, demo:resnet56, torchvision:NAME, timm:NAME, hf:NAME, FILE.py:FACTORY or "
    "PACKAGE.MODULE:FACTORY"
)
DATA_FORMS = (
    "demo:fashion-mnist, imagefolder:DIR, torchvision:SET:ROOT, torchvision:SET:ROOT:train, "
    "hf:NAME:SPLIT:IMAGES,LABELS, npz:FILE, FILE.py:FACTORY or PACKAGE.MODULE:FACTORY"
)


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
        if form == "hf":
            return transformers_networks.open_network(name, _asked_for(weights, network), classes)
        if name:
            return _from_factory(network, weights, classes, seed), None
    raise SubjectError(
        f"Expected the network as {NETWORK_FORMS}, got '{network}'; {_network_hint(network)}"
    )


def _network_hint(network: str) -> str:
    if network in torchvision_networks.names():
        return f"did you mean torchvision:{network}?"
    return _factory_hint(network)


def _factory_hint(reference: str) -> str:
    if reference.endswith(".py"):
        return f"name its function behind a colon, such as {reference}:make."
    return "check the name."


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
    network = _made(reference, seed, f"the network as {NETWORK_FORMS}")
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
    preprocessing: Preprocessing | None = None,
    *,
    resize: int | None = None,
    crop: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    channels: int | None = None,
    seed: int = 0,
) -> tuple[Any, str]:
    """The Dataset or DataLoader, and the text of its preprocessing.

    preprocessing: the network's own, of which resize, crop, mean, std replace parts
    channels: 1 for grey images, 3 for colour; None for colour from folders, elsewhere what they are
    seed: where torch's random numbers start in a factory, so that a random split is always the same
    """
    given = any(part is not None for part in (resize, crop, mean, std))
    if preprocessing is None:
        preprocessing = demo.PREPROCESSING if data == "demo:fashion-mnist" else Preprocessing()
    applied = replace(preprocessing.changed(resize, crop, mean, std), channels=channels)
    form, _, name = data.partition(":")
    if form == "imagefolder" and name:
        return image_folder.open_folder(Path(name), applied), applied.text
    if form == "torchvision" and ":" in name:
        chosen, _, root = name.partition(":")
        split = root.removesuffix(":train")
        images = torchvision_sets.open_set(chosen, Path(split), applied, split != root)
        return images, applied.text
    if form == "hf" and name:
        return huggingface_sets.open_set(name, applied), applied.text
    if form == "npz" and name:
        return _from_npz(Path(name), applied, given)
    if data == "demo:fashion-mnist":
        return arrays.bundled(applied), applied.text
    if form in ("demo", "imagefolder", "torchvision", "hf", "npz") or not name:
        raise SubjectError(f"Expected the data as {DATA_FORMS}, got '{data}'; {_data_hint(data)}")
    if given:
        raise SubjectError(
            f"Expected no preprocessing for {data}, whose items are taken as they are, "
            "got --resize, --crop, --mean or --std; do it in the function."
        )
    return _made(data, seed, f"the data as {DATA_FORMS}"), f"as {data} gives them"


def channels_for(
    network: nn.Module, data: str, preprocessing: Preprocessing | None, parts: dict[str, Any]
) -> int | None:
    """Whether files of images are to be grey or in colour, where the network takes them only so.

    None where they need not be changed, or where nothing helps.
    """
    mean = parts["mean"] or (preprocessing.mean if preprocessing else ())
    if not data.startswith(("imagefolder:", "torchvision:", "hf:")) or len(mean) > 1:
        return None
    for channels in (None, GREY, COLOUR):
        if _takes(network, open_data(data, preprocessing, channels=channels, **parts)[0]):
            return channels
    return None


def _takes(network: nn.Module, data: Any) -> bool:
    """Whether the network runs on the first images; what is wrong is said later."""
    try:
        images = Images.of(data)
        batch = images.batch(range(min(EXAMPLE_IMAGES, len(images))))
        try_out(network, Unlabelled(), batch[0] if isinstance(batch, (tuple, list)) else batch)
    except SubjectError:
        return False
    return True


def _made(reference: str, seed: int, forms: str) -> Any:
    factory = references.found(reference, forms)
    with seeded(seed):  # after the import, which draws numbers only the first time
        return references.made(factory, reference)


def _from_npz(path: Path, preprocessing: Preprocessing, given: bool) -> tuple[Any, str]:
    """Images of bytes are preprocessed; images of floats only if that is asked for."""
    images = arrays.read_npz(path, preprocessing, given)
    return images, preprocessing.text if images.preprocessing else "floats as they are"


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's random numbers (CPU) start at `seed` within, and go on as before afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _data_hint(data: str) -> str:
    if os.path.isdir(data):
        return f"did you mean imagefolder:{data}?"
    if data.endswith(".npz"):
        return f"did you mean npz:{data}?"
    return _factory_hint(data)
