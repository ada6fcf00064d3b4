"""The classification sets of torchvision, as they lie on disk."""

from inspect import signature
from pathlib import Path
from typing import Any

from torchvision import datasets

from lesion.errors import SubjectError
from lesion.zoo.preprocessing import Preprocessing

# what gives each set's test images: the validation images where test labels are not public,
# all images where the set has no split
OPTIONS: tuple[tuple[dict[str, Any], tuple[str, ...]], ...] = (
    ({"train": False},
     ("CIFAR10", "CIFAR100", "FashionMNIST", "KMNIST", "MNIST", "QMNIST", "USPS")),
    ({"split": "test"},
     ("Country211", "DTD", "FGVCAircraft", "Flowers102", "Food101", "GTSRB", "OxfordIIITPet",
      "PCAM", "RenderedSST2", "STL10", "StanfordCars", "SVHN")),
    ({"split": "val"}, ("CLEVRClassification", "ImageNet", "Imagenette", "Places365")),
    ({}, ("Caltech101", "Caltech256", "EuroSAT", "SUN397")),
    ({"download": False}, ("SEMEION",)),
)  # fmt: skip
SETS = {name: options for options, names in OPTIONS for name in names}


def open_set(name: str, root: Path, preprocessing: Preprocessing) -> Any:
    """The test images of a torchvision set that lies in `root`; nothing is downloaded."""
    if name not in SETS:
        raise SubjectError(
            f"Expected one of torchvision's classification sets ({', '.join(sorted(SETS))}), "
            f"got '{name}'; give other data by FILE.py:FACTORY."
        )
    if not root.is_dir():
        raise SubjectError(
            f"Expected {name} in the folder {root}, found no folder; {_fetch(name, root)}."
        )
    try:
        return getattr(datasets, name)(str(root), transform=preprocessing, **SETS[name])
    except (RuntimeError, OSError, ImportError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise SubjectError(
            f"Expected the files of {name} in {root.resolve()}, but torchvision cannot use them "
            f"({lines[0].rstrip('.')}); {_fetch(name, root)}."
        ) from error


def _fetch(name: str, root: Path) -> str:
    """How to get a set that is not there."""
    if "download" in signature(getattr(datasets, name)).parameters:
        return f'torchvision.datasets.{name}("{root}", download=True) fetches it'
    return f"put its archives there as the documentation of torchvision.datasets.{name} says"
