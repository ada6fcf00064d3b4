"""The networks of timm, if it is installed: `pip install "lesion[timm]"`."""

import importlib.util
import math
from pathlib import Path
from typing import Any

from torch import nn

from lesion.errors import SubjectError, first_line
from lesion.zoo import checkpoints
from lesion.zoo.preprocessing import Preprocessing


def open_network(name: str, weights: str, classes: int | None) -> tuple[nn.Module, Preprocessing]:
    """A network by its name, and the preprocessing of its configuration.

    weights: "default", a tag such as "a1_in1k", "random", or a file
    """
    timm = _timm()
    base = name.partition(".")[0]
    if not timm.is_model(base):
        raise SubjectError(
            f"Expected the name of a network of timm {timm.__version__}, got '{base}'; "
            "timm.list_models() lists them."
        )
    file = weights not in ("default", "random") and Path(weights).is_file()
    chosen = name if file or weights in ("default", "random") else f"{base}.{weights}"
    network = _created(timm, chosen, not file and weights != "random", classes)
    if file:
        checkpoints.load(network, Path(weights))
    return network, preprocessing(network)


def comes_trained(weights: str | None) -> bool:
    """Whether weights are timm's own, neither random nor in a file."""
    return weights not in (None, "random") and not Path(str(weights)).is_file()


def installed() -> bool:
    """Whether timm is there."""
    return importlib.util.find_spec("timm") is not None


def imagenet(outputs: int) -> list[tuple[str, str]]:
    """WordNet's number and the names of each class of the ImageNet with so many of them.

    [] where there is none, and without timm, whose lists they are.
    """
    if not installed():
        return []
    data = _timm().data
    subset = data.infer_imagenet_subset({"num_classes": outputs})
    if subset is None:
        return []
    known = data.ImageNetInfo(subset)
    return list(zip(known.label_names(), known.label_descriptions(), strict=True))


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise SubjectError(
            "Expected timm, which timm:NAME needs, but it is not installed; "
            'run pip install "lesion[timm]".'
        ) from error
    return timm


def _created(timm: Any, name: str, pretrained: bool, classes: int | None) -> nn.Module:
    options = {} if classes is None else {"num_classes": classes}
    try:
        network: Any = timm.create_model(name, pretrained=pretrained, **options)
    except Exception as error:  # hub and timm raise many kinds where weights cannot be fetched
        entries = timm.list_pretrained(f"{name.partition('.')[0]}.*")
        tags = ", ".join(entry.partition(".")[2] for entry in entries) or "none"
        raise SubjectError(
            f"Expected weights that timm can fetch for {name} (default, or of the tags: {tags}) "
            f"or a file, but: {first_line(error)}; check name and connection, "
            "or give --weights FILE."
        ) from error
    trained = network.pretrained_cfg["num_classes"] if pretrained else classes
    if classes not in (None, trained):
        raise SubjectError(
            f"Expected {trained} classes, which {name} was trained for, got {classes}; "
            "leave the number of classes out, or give weights of your own."
        )
    made: nn.Module = network
    return made


def preprocessing(network: nn.Module) -> Preprocessing:
    """What timm's evaluation transform for the network does, from timm's `resolve_data_config`."""
    config = _timm().data.resolve_data_config({}, model=network)
    size = tuple(config["input_size"][1:])
    scaled = tuple(math.floor(side / config["crop_pct"]) for side in size)
    if config["crop_mode"] not in ("center", "squash"):
        raise SubjectError(
            f"Expected a network whose images timm crops at the centre, got crop mode "
            f"'{config['crop_mode']}'; give the data by FILE.py:FACTORY, ready for the network."
        )
    return Preprocessing(
        resize=scaled if config["crop_mode"] == "squash" or size[0] != size[1] else scaled[0],
        crop=size,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=config["interpolation"],
    )
