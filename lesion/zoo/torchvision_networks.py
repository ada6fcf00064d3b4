"""The classification networks of torchvision."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError

from torch import nn
from torchvision import models
from torchvision.models import WeightsEnum

from lesion.errors import SubjectError
from lesion.zoo import checkpoints
from lesion.zoo.preprocessing import Preprocessing


def names() -> list[str]:
    """The names of torchvision's classification networks."""
    return list(models.list_models(module=models))


def open_network(
    name: str, weights: str, classes: int | None
) -> tuple[nn.Module, Preprocessing | None]:
    """A network by its name, and the preprocessing of its weights if torchvision trained them.

    weights: "default", the name of a member of the network's weights enum, "random", or a file
    """
    if name not in names():
        close = difflib.get_close_matches(name, names(), 3)
        hint = f"did you mean {', '.join(close)}?" if close else "see torchvision.models."
        raise SubjectError(
            f"Expected the name of a classification network of torchvision, got '{name}'; {hint}"
        )
    members = models.get_model_weights(name)
    if weights == "default" or weights in members.__members__:
        return _trained(name, members["DEFAULT" if weights == "default" else weights], classes)
    if weights != "random" and not Path(weights).is_file():
        known = ", ".join(member.name for member in members)
        raise SubjectError(
            f"Expected weights for {name}: default, random, {known} or a file, "
            f"got '{weights}', which is no file; check the name."
        )
    network = models.get_model(name, weights=None, num_classes=classes or 1000)
    if weights != "random":
        checkpoints.load(network, Path(weights))
    return network, None


def categories(name: str, weights: str | None) -> Sequence[str]:
    """What the outputs of a network are with weights of torchvision's, () with others."""
    members = models.get_model_weights(name).__members__
    member = "DEFAULT" if weights == "default" else weights
    return members[member].meta["categories"] if member in members else ()


def _trained(
    name: str, weights: WeightsEnum, classes: int | None
) -> tuple[nn.Module, Preprocessing]:
    trained = len(weights.meta["categories"])
    if classes not in (None, trained):
        raise SubjectError(
            f"Expected {trained} classes, which {weights} were trained for, got {classes}; "
            "leave the number of classes out, or give weights of your own."
        )
    try:
        # get_model unpickles with code allowed: refuse a bad file in torch's cache before it does
        weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
        network = models.get_model(name, weights=weights)
    except UnpicklingError as error:
        raise SubjectError(
            f"Expected plain weights from {weights.url}, but the file in the folder checkpoints "
            "of torch.hub.get_dir() holds pickled Python objects, and loading those can run code; "
            "remove it."
        ) from error
    except (OSError, RuntimeError) as error:
        raise SubjectError(
            f"Expected to fetch {weights.url}, but: {error}; put the file into the folder "
            "checkpoints of torch.hub.get_dir(), or give --weights FILE."
        ) from error
    return network, _preprocessing(weights)


def _preprocessing(weights: WeightsEnum) -> Preprocessing:
    """What torchvision's `weights.transforms()` does."""
    preset = weights.transforms()
    return Preprocessing(
        resize=preset.resize_size[0],
        crop=preset.crop_size[0],
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
    )
