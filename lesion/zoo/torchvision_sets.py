"""The classification sets of torchvision, as they lie on disk."""

from inspect import signature
from pathlib import Path
from typing import Any

from torchvision import datasets

from lesion.errors import SubjectError, first_line
from lesion.zoo.preprocessing import Preprocessing

# what gives each set's test images: the validation images where test labels are not public,
# all images where the set has no split
OPTIONS: tuple[tuple[dict[str, Any], tuple[str, ...]], ...] = (
    (
        {"train": False},
        ("CIFAR10", "CIFAR100", "FashionMNIST", "KMNIST", "MNIST", "QMNIST", "USPS"),
    ),
    (
        {"split": "test"},
        (
            "Country211",
            "DTD",
            "FGVCAircraft",
            "Flowers102",
            "Food101",
            "GTSRB",
            "OxfordIIITPet",
            "PCAM",
            "RenderedSST2",
            "STL10",
            "StanfordCars",
            "SVHN",
        ),
    ),
    ({"split": "val"}, ("CLEVRClassification", "ImageNet", "Imagenette", "Places365")),
    ({}, ("Caltech101", "Caltech256", "EuroSAT", "SUN397")),
    ({"download": False}, ("SEMEION",)),
)
SETS = {name: options for options, names in OPTIONS for name in names}
TRAINING = {"OxfordIIITPet": "trainval", "Places365": "train-standard"}  # elsewhere "train"


def open_set(name: str, root: Path, preprocessing: Preprocessing, train: bool = False) -> Any:
    """The test (or training) images of a torchvision set that lies in `root`.

    Nothing is downloaded.
    """
    if name not in SETS:
        raise SubjectError(
            f"Expected one of torchvision's classification sets ({', '.join(sorted(SETS))}), "
            f"got '{name}'; give other data by FILE.py:FACTORY."
        )
    options = _training(name) if train else SETS[name]
    if not root.is_dir():
        raise SubjectError(
            f"Expected {name} in the folder {root}, found no folder; {_fetch(name, root)}."
        )
    try:
        return getattr(datasets, name)(str(root), transform=preprocessing, **options)
    except (RuntimeError, OSError, ImportError) as error:
        raise SubjectError(
            f"Expected the files of {name} in {root.resolve()}, but torchvision cannot use them "
            f"({first_line(error)}); {_fetch(name, root)}."
        ) from error


def _training(name: str) -> dict[str, Any]:
    """What gives a set's training images."""
    if "train" in SETS[name]:
        return {"train": True}
    if "split" in SETS[name]:
        return {"split": TRAINING.get(name, "train")}
    raise SubjectError(
        f"Expected a set with training images of their own, got {name}, which has one set of "
        "images alone; give a part of it as FILE.py:FACTORY."
    )


def _fetch(name: str, root: Path) -> str:
    """How to get a set that is not there."""
    if "download" in signature(getattr(datasets, name)).parameters:
        return f'torchvision.datasets.{name}("{root}", download=True) fetches it'
    return f"put its archives there as the documentation of torchvision.datasets.{name} says"
