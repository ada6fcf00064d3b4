"""From an image to the network's input."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from lesion.errors import SubjectError
from lesion.zoo.depth import scaled

GREY, COLOUR = 1, 3
MODES = {GREY: "L", COLOUR: "RGB"}


@dataclass(frozen=True)
class Preprocessing:
    """Grey or colour, resize, crop at the centre, scale to [0, 1], normalise; each only where it is
    given.

    resize: length of the shorter side, or (height, width); crop: side of the square, or
        (height, width); mean, std: one value, or one a channel, on the scale [0, 1]
    channels: 1 for grey, 3 for colour, None for what an image has
    Takes PIL images of any depth (see `lesion.zoo.depth`) and tensors (channels, height, width);
    float tensors are not scaled. Grey images become as many channels as `mean` has values.

    >>> Preprocessing(mean=(0.5,), std=(0.25,))(torch.full((1, 1, 1), 255, dtype=torch.uint8))
    tensor([[[2.]]])
    """

    resize: int | tuple[int, ...] | None = None
    crop: int | tuple[int, ...] | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    interpolation: str = "bilinear"
    channels: int | None = None

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std):
            raise SubjectError(
                f"Expected as many values in mean as in std, got {len(self.mean)} and "
                f"{len(self.std)}; give --mean and --std together, one value a channel."
            )
        if not all(isfinite(value) for value in self.mean):
            raise SubjectError(f"Expected finite values in mean, got {self.mean}.")
        if not all(0 < value < inf for value in self.std):
            raise SubjectError(f"Expected finite values above 0 in std, got {self.std}.")

    def changed(
        self,
        resize: int | None = None,
        crop: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> "Preprocessing":
        """This preprocessing with those parts replaced that are given."""
        parts: dict[str, Any] = {
            "resize": resize,
            "crop": crop,
            "mean": None if mean is None else tuple(mean),
            "std": None if std is None else tuple(std),
        }
        return replace(self, **{name: part for name, part in parts.items() if part is not None})

    @property
    def text(self) -> str:
        """What it does, in words; equal texts are equal preprocessing.

        >>> Preprocessing(256, 224, (0.5,), (0.25,)).text
        'resize 256 bilinear, crop 224, scale to [0, 1], mean 0.5, std 0.25'
        """
        steps = ["grey"] if self.channels == GREY else []
        if self.resize is not None:
            steps.append(f"resize {_size(self.resize)} {self.interpolation}")
        if self.crop is not None:
            steps.append(f"crop {_size(self.crop)}")
        steps.append("scale to [0, 1]")
        if self.mean:
            steps.append("mean " + " ".join(f"{value:.10g}" for value in self.mean))
            steps.append("std " + " ".join(f"{value:.10g}" for value in self.std))
        return ", ".join(steps)

    def __call__(self, image: Any) -> Tensor:
        image = self._with_channels(image)
        deep = isinstance(image, Image.Image) and image.mode == "F"
        if self.resize is not None:
            size = [self.resize] if isinstance(self.resize, int) else list(self.resize)
            image = F.resize(image, size, InterpolationMode(self.interpolation), antialias=True)
        if self.crop is not None:
            size = [self.crop] if isinstance(self.crop, int) else list(self.crop)
            image = F.center_crop(image, size)
        tensor: Tensor = image if isinstance(image, Tensor) else F.pil_to_tensor(image)
        tensor = F.convert_image_dtype(tensor, torch.float32)
        if deep:  # what eight bits do by themselves, and what a mode of PIL cannot hold
            tensor = tensor.clamp(0, 1).expand(self._wanted or GREY, -1, -1)
        if self.mean:
            tensor = F.normalize(tensor, list(self.mean), list(self.std))
        return tensor

    def _with_channels(self, image: Any) -> Any:
        if isinstance(image, Tensor):
            grey = image.shape[0] == 1 and len(self.mean) > 1
            return image.expand(len(self.mean), -1, -1) if grey else image
        image = scaled(image)
        mode = MODES.get(self._wanted or 0)
        return image.convert(mode) if mode and image.mode != "F" else image

    @property
    def _wanted(self) -> int | None:
        """How many channels images are to have, None for what they have."""
        return len(self.mean) if len(self.mean) > 1 else self.channels


def _size(size: int | tuple[int, ...]) -> str:
    return str(size) if isinstance(size, int) else "×".join(map(str, size))
