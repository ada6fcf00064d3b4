"""Whether the texts of a picture can be read, and how its colours look to others."""

from itertools import combinations

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.text import Text


def written(figure):
    """Every text that is drawn: titles, labels, ticks, legends, and what stands in the axes."""
    figure.draw_without_rendering()
    found = [text for legend in figure.legends for text in legend.get_texts()]
    for ax in figure.axes:
        found += [ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
        found += ax.get_legend().get_texts() if ax.get_legend() else []
        found += [
            label
            for axis in (ax.xaxis, ax.yaxis)
            for tick in axis._update_ticks()
            for label in (tick.label1, tick.label2)
        ]
    return [text for text in found if text.get_visible() and text.get_text()]


def assert_legible(figure):
    """No text covers another, leaves the figure or is smaller than 4.5 points."""
    texts = written(figure)
    boxes = [Text.get_window_extent(text) for text in texts]
    whole = figure.bbox
    for text, box in zip(texts, boxes, strict=True):
        assert text.get_fontsize() >= 4.5, text
        assert whole.x0 - 1 <= box.x0 and box.x1 <= whole.x1 + 1, text
        assert whole.y0 - 1 <= box.y0 and box.y1 <= whole.y1 + 1, text
    for (text, one), (other_text, other) in combinations(zip(texts, boxes, strict=True), 2):
        assert not one.padded(-1).overlaps(other.padded(-1)), (text, other_text)


def luminance(colour):
    """From 0 for black to 1 for white."""
    return float(np.dot([0.2126, 0.7152, 0.0722], np.power(to_rgb(colour), 2.2)))


def as_deuteranope(colour):
    """Linear RGB of a colour without its medium wavelengths (Viénot et al. 1999)."""
    to_lms = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714],
                       [0.0299566, 0.184309, 1.46709]])  # fmt: skip
    blind = np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]])
    return np.linalg.inv(to_lms) @ blind @ to_lms @ np.power(to_rgb(colour), 2.2)
