"""Images of any depth: eight bits a channel, or grey floats from 0 to 1."""

import numpy as np
from PIL import Image

GREY = ("1", "L", "LA")
MOST = 65535  # of sixteen bits


def scaled(image: Image.Image) -> Image.Image:
    """The image in mode L or RGB, or F with values from 0 to 1.

    Sixteen bits of grey are divided by 65535, also where PIL holds them as 32-bit integers; floats
    from 0 to 1 are taken as they are.  Palettes and other colours become RGB, of sixteen bits the
    upper eight, as PIL reads them; transparency and the orientation in a camera's notes do not
    count, as in torchvision.  Raises ValueError for integers beyond sixteen bits and for other
    floats, whose scale nobody knows.
    """
    if image.mode == "F":
        return _floats(image, 1, "floats")
    if image.mode.startswith("I"):
        return _floats(image, MOST, "integers")
    return image.convert("L" if image.mode in GREY else "RGB")


def _floats(image: Image.Image, most: int, kind: str) -> Image.Image:
    values = np.asarray(image).astype(np.float64)
    low, high = values.min(), values.max()
    if not 0 <= low <= high <= most:
        raise ValueError(f"its {kind} go from {low:g} to {high:g}, not from 0 to {most:g}")
    return Image.fromarray((values / most).astype(np.float32))
