"""Circles, squares and triangles to find: what the detector and the U-Net here learn from.

    python examples/shapes.py shapes

writes images and label files in the folders that ultralytics reads, and shapes/shapes.yaml.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

NAMES = ("circle", "square", "triangle")
SIZE = 128
PARTS = {"train": (2000, 0), "val": (600, 1)}  # how many images, and the seed


@dataclass(frozen=True)
class Picture:
    """pixels: (SIZE, SIZE, 3) from 0 to 255; boxes: (n, 5), class and corners (x, y, x, y) in
    pixels; mask: (SIZE, SIZE), 0 where nothing is, else class + 1."""

    pixels: np.ndarray
    boxes: np.ndarray
    mask: np.ndarray


def picture(random: np.random.Generator) -> Picture:
    """One to five shapes of any colour before a coloured background, all under noise."""
    background = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    image, mask = background.resize((SIZE, SIZE)), Image.new("L", (SIZE, SIZE))
    boxes = []
    for _ in range(random.integers(1, 6)):
        kind = int(random.integers(len(NAMES)))
        half = random.uniform(6, 22)
        x, y = random.uniform(half, SIZE - half, 2)
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        left, top, right, bottom = box = (x - half, y - half, x + half, y + half)
        for draw, fill in ((ImageDraw.Draw(image), colour), (ImageDraw.Draw(mask), kind + 1)):
            if NAMES[kind] == "circle":
                draw.ellipse(box, fill)
            elif NAMES[kind] == "square":
                draw.rectangle(box, fill)
            else:
                draw.polygon([(x, top), (left, bottom), (right, bottom)], fill)
        boxes.append((kind, *box))
    noisy = np.asarray(image) + random.normal(0, 12, (SIZE, SIZE, 3))
    return Picture(noisy.clip(0, 255).astype(np.uint8), np.array(boxes), np.asarray(mask))


def pictures(part: str, count: int | None = None) -> list[Picture]:
    """Those of "train" or "val", the same whenever they are drawn."""
    most, seed = PARTS[part]
    random = np.random.default_rng(seed)
    return [picture(random) for _ in range(count or most)]


def main(folder: Path) -> None:
    for part in PARTS:
        images, labels = folder / "images" / part, folder / "labels" / part
        for path in (images, labels):
            path.mkdir(parents=True, exist_ok=True)
        for number, drawn in enumerate(pictures(part)):
            Image.fromarray(drawn.pixels).save(images / f"{number:04}.png")
            (labels / f"{number:04}.txt").write_text("\n".join(map(_line, drawn.boxes)))
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(NAMES))
    text = f"path: {folder.resolve()}\ntrain: images/train\nval: images/val\nnames:\n{names}"
    (folder / "shapes.yaml").write_text(text)


def _line(box: np.ndarray) -> str:
    """A line of ultralytics' label files: class, centre, width and height, as shares."""
    left, top, right, bottom = box[1:] / SIZE
    shares = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
    return " ".join([f"{box[0]:.0f}", *(f"{share:.6f}" for share in shares)])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
