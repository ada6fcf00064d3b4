"""Networks of Hugging Face's transformers, if it is installed: `pip install "lesion[hf]"`.

From the hub, or from a folder with config.json, weights and preprocessor_config.json.
"""

import re
from pathlib import Path
from typing import Any

from torch import nn

from lesion.errors import SubjectError, first_line
from lesion.zoo import checkpoints
from lesion.zoo.preprocessing import Preprocessing

INTERPOLATIONS = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # as Pillow numbers them
CONVNEXT_SMALL, CONVNEXT_CROP = 384, 224 / 256  # below, its processor crops this share


def open_network(
    name: str, weights: str, classes: int | None
) -> tuple[nn.Module, Preprocessing | None]:
    """A network by its name or folder, and the preprocessing of its image processor, if it has one.

    weights: "default" (those that come with it), "random", or a file
    The class is the one that the configuration names, such as ResNetForImageClassification.
    """
    hf = _transformers()
    options = {} if classes is None else {"num_labels": classes}
    try:
        config = hf.AutoConfig.from_pretrained(name, **options)
        kind = _kind(hf, config)
        made = kind.from_pretrained(name, config=config) if weights == "default" else kind(config)
    except Exception as error:  # the hub and transformers raise many kinds
        raise SubjectError(
            f"Expected a network of transformers {hf.__version__} at {name}, a name of the hub or "
            f"a folder, but: {first_line(error)}; check name and connection, or give --weights "
            "random or a file."
        ) from error
    network: nn.Module = made
    if weights not in ("default", "random"):
        checkpoints.load(network, Path(weights))
    return network, _preprocessing(hf, name)


def classes(network: Any) -> list[str]:
    """What the outputs are by the configuration, [] where it only numbers them."""
    by_output: dict[int, str] = getattr(network.config, "id2label", None) or {}
    names = [str(by_output.get(output, "")) for output in range(len(by_output))]
    return [] if all(re.fullmatch(r"(LABEL_\d+)?", name) for name in names) else names


def _kind(hf: Any, config: Any) -> Any:
    """The class that the configuration names, or the one for images."""
    for name in config.architectures or ():
        if hasattr(hf, name):
            return getattr(hf, name)
    return hf.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING[type(config)]


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise SubjectError(
            "Expected transformers, which hf:NAME needs, but it is not installed; "
            'run pip install "lesion[hf]".'
        ) from error
    return transformers


def _preprocessing(hf: Any, name: str) -> Preprocessing | None:
    """What the image processor beside the network does, None where there is none."""
    try:
        values = hf.AutoImageProcessor.from_pretrained(name).to_dict()
    except (OSError, ValueError, ImportError):  # none, or one that is not for images
        return None
    crop = _sides(values.get("crop_size")) if values.get("do_center_crop") else None
    resize = _sides(values.get("size")) if values.get("do_resize", True) else None
    if isinstance(resize, int) and "crop_pct" in values and crop is None:  # ConvNeXt's
        crop = (resize, resize)
        share = values["crop_pct"] or CONVNEXT_CROP
        resize = int(resize / share) if resize < CONVNEXT_SMALL else crop
    normal = values.get("do_normalize", True)
    return Preprocessing(
        resize=resize,
        crop=(crop, crop) if isinstance(crop, int) else crop,
        mean=tuple(values.get("image_mean") or ()) if normal else (),
        std=tuple(values.get("image_std") or ()) if normal else (),
        interpolation=INTERPOLATIONS.get(values.get("resample", 2), "bilinear"),
    )


def _sides(size: Any) -> Any:
    """A shorter side, or (height, width), of what processors call a size."""
    if isinstance(size, dict):
        if "height" in size:
            return (size["height"], size["width"])
        return size.get("shortest_edge")
    return size
