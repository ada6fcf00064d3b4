"""Fashion-MNIST (Xiao et al. 2017, MIT licence): 60 000 training and 10 000 test images."""

import gzip
import tempfile
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lesion.errors import LesionError

MEAN, STD = 0.2860, 0.3530


def read_idx(path: Path) -> Tensor:
    """The array in an idx file, gzipped or not, as uint8 (the format of MNIST's files)."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
        content = file.read()
    dimensions = content[3]
    shape = np.frombuffer(content, ">i4", dimensions, offset=4)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions)
    return torch.from_numpy(values.reshape(shape).copy())


def read(split: str, folder: Path | None = None) -> tuple[Tensor, Tensor]:
    """Images (N, 28, 28) uint8 and labels (N,) int64 of `split`, "train" or "t10k".

    `folder` holds the idx files, gzipped or not; without it torchvision downloads them.
    """
    if folder is None:
        from torchvision import datasets

        with tempfile.TemporaryDirectory() as root:
            whole = datasets.FashionMNIST(root, train=split == "train", download=True)
        return whole.data, whole.targets
    kinds = "images-idx3", "labels-idx1"
    files = [file for kind in kinds for file in sorted(folder.glob(f"{split}-{kind}-ubyte*"))[:1]]
    if len(files) < len(kinds):
        raise LesionError(
            f"Expected the idx files of Fashion-MNIST, such as {split}-images-idx3-ubyte.gz, in "
            f"{folder}, but one is missing; name the folder that holds them."
        )
    images, labels = map(read_idx, files)
    return images, labels.long()


def normalise(images: Tensor) -> Tensor:
    """(N, 28, 28) uint8 as (N, 1, 28, 28) float32 of mean 0 and deviation 1 on the training set."""
    return (images.float().unsqueeze(1) / 255 - MEAN) / STD


def bundled() -> tuple[Tensor, Tensor]:
    """The 10 000 test images (N, 28, 28) uint8 and labels that come with the package."""
    return read("t10k", Path(str(resources.files(__package__) / "data")))
