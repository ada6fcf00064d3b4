"""The picture of `anytime.py`: the share that is certified, against time."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from lesion.reports.plots.style import COLOURS, FONT, INK, PALE

ASKED = 90  # per cent, at a twentieth of the plain loop's time
MARKED = 20  # that part of it


def of_shares(
    seconds: np.ndarray, shares: np.ndarray, plain: float, parts: Sequence[int]
) -> Figure:
    """The shares, in per cent, with parts of the plain loop's time."""
    figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    ax.axhline(ASKED, color=PALE, lw=0.8, ls=(0, (1, 2)))
    plain_line = {"color": PALE, "lw": 0.8, "ls": "-"}
    marked_line = {"color": COLOURS[0], "lw": 1.4, "ls": (0, (5, 1.5))}
    for part in (*parts, 1):
        ax.axvline(plain / part, zorder=1, **(marked_line if part == MARKED else plain_line))
    ax.step(seconds, shares, where="post", color=COLOURS[1], lw=1.8, zorder=3)
    ax.hlines(shares[-1], seconds[-1], 1.3 * plain, color=COLOURS[1], lw=1.0, zorder=2)
    ax.plot(seconds[-1], shares[-1], "o", color=COLOURS[1], ms=6, zorder=4)
    scale(ax, plain)
    name(ax, (float(seconds[-1]), float(shares[-1])), plain, parts)
    return figure


def scale(ax: Axes, plain: float) -> None:
    """Scales and what they are of."""
    ax.set_xscale("log")
    ax.set(xlim=(5, 1.3 * plain), ylim=(0, 105))
    ax.xaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("seconds; marked: parts of the plain loop's time", fontsize=FONT)
    ax.set_ylabel("MACs cut by certified rates,\n% of the full sweep's", fontsize=FONT)
    ax.tick_params(labelsize=FONT)
    ax.spines[["top", "right"]].set_visible(False)


def name(ax: Axes, end: tuple[float, float], plain: float, parts: Sequence[int]) -> None:
    """The names of what is drawn; end: seconds and share."""
    text: dict[str, Any] = {"textcoords": "offset points", "fontsize": FONT}
    above = {"xycoords": ax.get_xaxis_transform(), "xytext": (0, 2), "ha": "center", "va": "bottom"}
    for part in (*parts, 1):
        label = f"1/{part}" if part > 1 else "plain loop\nends"
        colour = COLOURS[0] if part == MARKED else INK
        ax.annotate(label, (plain / part, 1.0), color=colour, **above, **text)
    below = {"xytext": (6, -3), "ha": "left", "va": "top", "color": COLOURS[1]}
    place = (max(end[0], plain / MARKED), end[1])
    ax.annotate(f"all decided after {end[0]:.0f} s", place, **below, **text)
    behind = {"xytext": (3, 0), "ha": "left", "va": "center", "color": INK}
    ax.annotate(f"{ASKED} %", (1.3 * plain, ASKED), **behind, **text)
