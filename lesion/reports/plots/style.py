"""Colours, markers and line styles that stay apart, and labels that do not overlap."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression

from lesion.lesions.amounts import Amounts

# Okabe & Ito 2008, without yellow, which does not show as a line on white.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1, 1)),
    (0, (5, 1.5, 1, 1.5)),
    (0, (8, 2, 2, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (12, 2)),
)
PALE = "0.62"
INK = "0.15"
FONT = 8.0  # points, for labels inside a figure
NUMBERED = 12  # as many amounts each have a tick
TICKS = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


def scale_amounts(ax: Axes, amounts: Amounts, shown: Sequence[float]) -> None:
    """An axis of a damage's amounts as they are shown, harm rising to the right."""
    if amounts.only:
        ax.set_xlim(0, 1)
        ax.set_xticks([0, 1], [amounts.spared, amounts.only])
        return
    values = sorted(set(shown), reverse=not amounts.rising)
    pad = 0.04 * (values[-1] - values[0]) or (0.5 if amounts.rising else -0.5)
    ax.set_xlim(values[0] - pad, values[-1] + pad)
    if len(values) <= NUMBERED:
        ax.set_xticks(values, [number(value) for value in values])


def line_style(i: int) -> dict[str, Any]:
    """Colour and marker of the i-th emphasised line; 56 pairs before one comes again."""
    return {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}


def stage_style(i: int) -> dict[str, Any]:
    """Colour and dashes of the i-th stage; seven before one comes again."""
    colours = (COLOURS[1], COLOURS[0], *COLOURS[2:])
    return {"color": colours[i % len(colours)], "linestyle": DASHES[i % len(DASHES)]}


def spread(wanted: Sequence[float] | np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Positions at least `gap` apart within [low, high], as near to the wanted ones as can be.

    The least squares solution (isotonic regression of wanted − rank · gap). Where they cannot all
    fit, the gap shrinks.

    >>> spread([0.5, 0.5, 0.9], 0.1, 0.0, 1.0).round(3).tolist()
    [0.45, 0.55, 0.9]
    """
    values = np.asarray(wanted, float)
    if len(values) == 0:
        return values
    order = np.argsort(values, kind="stable")
    gap = min(gap, (high - low) / max(1, len(values) - 1))
    steps = gap * np.arange(len(values))
    level = isotonic_regression(values[order] - steps).x
    placed = np.empty_like(values)
    placed[order] = np.clip(level, low, max(low, high - steps[-1])) + steps
    return placed


def characters(ax: Axes, share: float = 0.7) -> int:
    """How many letters of the usual size fit into a share of the figure's width."""
    return int(share * ax.get_figure(root=True).get_figwidth() * 72 / (0.53 * FONT))  # type: ignore[union-attr]


def legend_below(ax: Axes, handles: Sequence[Any], alone: bool) -> None:
    """A legend under the figure, in as many columns as fit; inside axes that are not our own."""
    figure = ax.figure
    if alone and isinstance(figure, Figure):
        wide = sum(0.53 * FONT * len(handle.get_label()) + 38 for handle in handles)
        columns = math.ceil(len(handles) / math.ceil(wide / (72 * figure.get_figwidth())))
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=columns,
            frameon=False,
            fontsize=FONT,
            handlelength=3,
            columnspacing=1.5,
        )
    else:
        ax.legend(handles=handles, fontsize=FONT, edgecolor="none", framealpha=0.85)


@dataclass(frozen=True)
class End:
    """Where a line ends, in data units, what it is called, and the colour of its leader."""

    x: float
    y: float
    text: str
    colour: str


def label_ends(ax: Axes, ends: Sequence[End], size: float = FONT) -> None:
    """Write each line's name to the right of the axes, spread so that none overlaps.

    To be called once limits and layout are settled. If not all fit, those that ended highest and
    lowest go first, and the last label says how many are missing.
    """
    height = ax.get_window_extent().height * 72 / ax.get_figure(root=True).dpi  # type: ignore[union-attr]
    gap = 1.3 * size / height
    shown = _that_fit(ends, int(1 / gap + 1e-9) + 1)
    places = np.array([(end.x, end.y) for end in shown]).reshape(-1, 2)
    wanted = ax.transAxes.inverted().transform(ax.transData.transform(places))[:, 1]
    for end, y in zip(shown, spread(wanted, gap, 0.0, 1.0), strict=True):
        ax.annotate(
            end.text,
            (end.x, end.y),
            xytext=(1.05, y),
            textcoords="axes fraction",
            fontsize=size,
            color=INK,
            va="center",
            ha="left",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": end.colour,
                "lw": 0.8,
                "relpos": (0, 0.5),
                "shrinkA": 1,
                "shrinkB": 3,
            },
        )


def _that_fit(ends: Sequence[End], room: int) -> list[End]:
    if len(ends) <= room:
        return list(ends)
    ranked = sorted(ends, key=lambda end: end.y)
    kept = ranked[: room - 1]
    last = ranked[room - 1]
    return [*kept, End(last.x, last.y, f"and {len(ends) - len(kept)} more", last.colour)]


def number(value: float) -> str:
    """A number as short as it goes, with a true minus sign."""
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def points(drop: float) -> str:
    """A drop with its unit.

    >>> points(1.0), points(0.5)
    ('1 point', '0.5 points')
    """
    return f"{number(drop)} point{'' if drop == 1 else 's'}"


def ticks_within(low: float, high: float) -> list[float]:
    """The round numbers of a signed logarithmic axis that lie in [low, high].

    >>> ticks_within(-1, 12)
    [-1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 5.0, 10.0]
    """
    signed = sorted({sign * tick + 0.0 for tick in TICKS for sign in (-1, 1)})
    return [tick for tick in signed if low <= tick <= high]
