"""Images that lie in memory: arrays in an npz file, and the bundled test images."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lesion.errors import SubjectError
from lesion.zoo import fashion_mnist
from lesion.zoo.preprocessing import Preprocessing

IMAGES = ("images", "x", "data", "test_images", "x_test")
LABELS = ("labels", "y", "targets", "test_labels", "y_test")
COLOURS = (1, 3, 4)


@dataclass(frozen=True, eq=False)
class Arrays(Dataset[Any]):
    """Images (N, …) and labels (N,) as a dataset; preprocessing None gives images as they are."""

    images: Tensor
    labels: Tensor
    preprocessing: Preprocessing | None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index]
        prepared = image if self.preprocessing is None else self.preprocessing(image)
        return prepared, int(self.labels[index])


def bundled(preprocessing: Preprocessing) -> Arrays:
    """The 10 000 test images of Fashion-MNIST."""
    images, labels = fashion_mnist.bundled()
    return Arrays(images.unsqueeze(1), labels, preprocessing)


def read_npz(path: Path) -> tuple[Tensor, Tensor]:
    """Images and labels (N,) in an npz file.

    Images of bytes are (N, H, W), (N, H, W, C) or (N, C, H, W), with 1, 3 or 4 channels, and
    become (N, C, H, W); images of floats are what the network takes, without the first axis, and
    become float32.  Raises SubjectError for any other content.
    """
    arrays = _load(path)
    images, labels = _found(arrays, IMAGES, path), _found(arrays, LABELS, path)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise SubjectError(
            f"Expected labels that are class numbers (integers, one an image) in {path}, "
            f"got {labels.dtype} {labels.shape}; convert them."
        )
    if images.ndim == 0 or len(images) != len(labels):
        raise SubjectError(
            f"Expected as many images as labels in {path}, got {images.shape[:1]} and "
            f"{labels.shape}; write both anew."
        )
    return _channels_first(images, path), torch.from_numpy(labels.astype(np.int64))


def _load(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise SubjectError(f"Expected an npz file at {path}, found none; check the path.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise SubjectError(
            f"Expected an npz file of plain arrays, but {path} cannot be read as one ({error}); "
            "write it with numpy.savez(FILE, images=…, labels=…)."
        ) from error


def _found(arrays: dict[str, np.ndarray], names: tuple[str, ...], path: Path) -> np.ndarray:
    for name in names:
        if name in arrays:
            return arrays[name]
    raise SubjectError(
        f"Expected an array named '{names[0]}' or '{names[1]}' in {path}, "
        f"found {', '.join(arrays) or 'none'}; rename it."
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
