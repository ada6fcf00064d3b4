"""Images that lie in memory: arrays in an npz file, and the bundled test images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lesion.errors import SubjectError
from lesion.zoo import fashion_mnist, npz
from lesion.zoo.preprocessing import Preprocessing

IMAGES = ("images", "x", "data", "test_images", "x_test")
LABELS = ("labels", "y", "targets", "test_labels", "y_test")
COLOURS = (1, 3, 4)


@dataclass(frozen=True, eq=False)
class Arrays(Dataset[Any]):
    """Images (N, …) and labels (N,) as a dataset; preprocessing None gives images as they are.

    Without labels an item is the image alone; `unlabelled` says what to do where they are needed.
    """

    images: Tensor
    labels: Tensor | None
    preprocessing: Preprocessing | None
    unlabelled: str = ""

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        image = self.images[index]
        prepared = image if self.preprocessing is None else self.preprocessing(image)
        return prepared if self.labels is None else (prepared, int(self.labels[index]))


def bundled(preprocessing: Preprocessing) -> Arrays:
    """The 10 000 test images of Fashion-MNIST."""
    images, labels = fashion_mnist.bundled()
    return Arrays(images.unsqueeze(1), labels, preprocessing)


def read_npz(path: Path, preprocessing: Preprocessing | None = None, given: bool = False) -> Arrays:
    """The images in an npz file, and their labels (N,) if it holds some.

    Images of bytes are (N, H, W), (N, H, W, C) or (N, C, H, W), with 1, 3 or 4 channels, and
    are preprocessed as (C, H, W); images of floats are what the network takes, without the first
    axis, become float32, and are preprocessed only if that is `given`.  Raises SubjectError for
    any other content.
    """
    held, (stored, labels) = _contents(path)
    if stored is None:
        raise SubjectError(f"{_expected(IMAGES, path, held)}; rename it.")
    if stored.ndim == 0:
        raise SubjectError(f"Expected several images in {path}, got one number; write them anew.")
    images = _channels_first(stored, path)
    applied = preprocessing if given or not images.is_floating_point() else None
    if labels is None:
        hint = "rename it, or use --score agreement, which needs no labels."
        return Arrays(images, None, applied, f"{_expected(LABELS, path, held)}; {hint}")
    return Arrays(images, _class_numbers(labels, len(images), path), applied)


def _class_numbers(labels: np.ndarray, images: int, path: Path) -> Tensor:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise SubjectError(
            f"Expected labels that are class numbers (integers, one an image) in {path}, "
            f"got {labels.dtype} {labels.shape}; convert them."
        )
    if len(labels) != images:
        raise SubjectError(
            f"Expected as many images as labels in {path}, got ({images},) and "
            f"{labels.shape}; write both anew."
        )
    return torch.from_numpy(labels.astype(np.int64))


def _contents(path: Path) -> tuple[list[str], list[np.ndarray | None]]:
    """What the file holds, by name, and of it the images and the labels, None for what it lacks."""
    held = npz.names_in(path)
    names = [next((name for name in known if name in held), "") for known in (IMAGES, LABELS)]
    arrays = iter(npz.read(path, [name for name in names if name]))
    return held, [next(arrays) if name else None for name in names]


def _expected(names: tuple[str, ...], path: Path, held: list[str]) -> str:
    return (
        f"Expected an array named '{names[0]}' or '{names[1]}' in {path}, found "
        f"{', '.join(held) or 'none'}"
    )


def _channels_first(images: np.ndarray, path: Path) -> Tensor:
    if images.dtype.kind == "f":
        return torch.from_numpy(images.astype(np.float32))
    if images.dtype == np.uint8 and images.ndim == 3:
        return torch.from_numpy(images).unsqueeze(1)
    if images.dtype == np.uint8 and images.ndim == 4 and images.shape[1] in COLOURS:
        return torch.from_numpy(images)
    if images.dtype == np.uint8 and images.ndim == 4 and images.shape[3] in COLOURS:
        return torch.from_numpy(images).permute(0, 3, 1, 2)
    raise SubjectError(
        "Expected images of floats, or of uint8 with shape (N, H, W), (N, H, W, C) or "
        f"(N, C, H, W) and 1, 3 or 4 channels in {path}, got {images.dtype} {images.shape}; "
        "convert them."
    )
