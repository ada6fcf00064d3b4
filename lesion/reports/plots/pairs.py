"""Interactions: which pairs of cuts hurt more, or less, together than one by one."""

from __future__ import annotations

import re
import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.patches import Patch, Rectangle

from lesion.errors import EvidenceError
from lesion.reports.plots.heatmap import short
from lesion.reports.plots.rows import SCORES, label
from lesion.reports.plots.style import FONT, characters, legend_below, number, ticks_within
from lesion.words import grouped

if TYPE_CHECKING:
    from lesion.joint.interactions import Interactions

BLANK: dict[str, Any] = {"facecolor": "0.95", "edgecolor": "0.75", "hatch": "/////", "lw": 0.0}
MARK: dict[str, Any] = {"facecolor": "none", "edgecolor": "black", "lw": 1.6}
SMALLEST = 5.0  # points


def interactions_table(interactions: Interactions) -> pd.DataFrame:
    """I(a, b) in points, one row and one column a unit; NaN for pairs that were not measured.

    Units come in order of execution as far as the pairs tell it, since a pair names first what runs
    first, and by name where they do not.
    Raises EvidenceError without a pair.
    """
    if interactions.table.empty:
        raise EvidenceError("Expected at least one measured pair of units, got none.")
    order = _order(interactions.table)
    return interactions.matrix().reindex(index=order, columns=order)


def _order(pairs: pd.DataFrame) -> list[str]:
    before: dict[str, set[str]] = {name: set() for name in [*pairs["first"], *pairs["second"]]}
    for first, second in zip(pairs["first"], pairs["second"], strict=True):
        before[second].add(first)
    order: list[str] = []
    while before:
        free = [name for name, others in before.items() if not others & before.keys()]
        order.append(min(free or before, key=_by_number))
        del before[order[-1]]
    return order


def _by_number(name: str) -> list[str | int]:
    """A key by which conv2 comes before conv10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def plot_interactions(interactions: Interactions, ax: Axes | None = None) -> Axes:
    """Draw I(a, b) of every pair once, below the diagonal; pairs that were not measured hatched.

    Red is worse together than one by one, blue less bad, white neither. The colours are linear up
    to one point and logarithmic beyond, alike on both sides. A frame marks each pair whose interval
    excludes 0.
    """
    pairs = interactions.table
    pairs = pairs.assign(first=pairs["first"].map(label), second=pairs["second"].map(label))
    table = interactions_table(replace(interactions, table=pairs))
    below = pd.DataFrame(np.tri(len(table), dtype=bool, k=-1), table.index, table.columns)
    half = table.where(below).iloc[1:, :-1]
    alone, ax = ax is None, ax if ax is not None else _axes(table)
    _draw_cells(ax, half, alone)
    _draw_blanks(ax, half, below.iloc[1:, :-1])
    marked = _mark(ax, half, pairs)
    _finish(ax, interactions)
    handles = []
    if marked:
        handles.append(Patch(**MARK, label=f"{interactions.confidence:g} % interval excludes 0"))
    if len(pairs) < below.to_numpy().sum():
        handles.append(Patch(**BLANK, label="not measured"))
    if handles:
        legend_below(ax, handles, alone)
    _colour_bar(ax, interactions.column, len(half))
    _fit(ax, len(half))
    return ax


def _axes(table: pd.DataFrame) -> Axes:
    names = max(len(name) for name in table.index) * FONT * 0.6 / 72
    cell = 0.4 if len(table) <= 13 else 0.3 if len(table) <= 25 else 0.26
    size = cell * max(len(table) - 1, 5) + names
    return plt.subplots(figsize=(size + 1.3, size + 1.0), layout="constrained")[1]


def _draw_cells(ax: Axes, half: pd.DataFrame, alone: bool) -> None:
    limit = max(1.0, float(np.nanmax(np.abs(half.to_numpy()))))
    sns.heatmap(
        half,
        ax=ax,
        cmap="vlag",
        norm=SymLogNorm(1.0, vmin=-limit, vmax=limit),
        cbar=False,
        annot=half.map(short),
        fmt="",
        linewidths=0.5,
        linecolor="white",
        xticklabels=alone or "auto",
        yticklabels=alone or "auto",
    )


def _draw_blanks(ax: Axes, half: pd.DataFrame, below: pd.DataFrame) -> None:
    for row, column in np.argwhere((half.isna() & below).to_numpy()):
        ax.add_patch(Rectangle((column, row), 1, 1, zorder=0.5, **BLANK))


def _mark(ax: Axes, half: pd.DataFrame, pairs: pd.DataFrame) -> int:
    """Frame the pairs whose interval excludes 0; gives how many they are."""
    apart = pairs[(pairs["low"] > 0) | (pairs["high"] < 0)]
    place = {name: i for i, name in enumerate([half.columns[0], *half.index])}
    for first, second in zip(apart["first"], apart["second"], strict=True):
        column, row = sorted((place[first], place[second]))
        ax.add_patch(Rectangle((column + 0.06, row - 0.94), 0.88, 0.88, zorder=3, **MARK))
    return len(apart)


def _finish(ax: Axes, interactions: Interactions) -> None:
    images = grouped(int(interactions.table["images"].max()))
    count = len(interactions.table)
    text = f"{count} pair{'' if count == 1 else 's'} on {images} images"
    if interactions.screened:
        text += f", the strongest of {interactions.screened}"
    width = characters(ax, ax.get_position().width)
    ax.set_title(textwrap.fill(text, width), loc="left", fontsize=FONT + 1)
    ax.set(xlabel="", ylabel="")
    ax.tick_params(length=0, labelsize=FONT)
    ax.tick_params(axis="x", rotation=90)
    ax.tick_params(axis="y", rotation=0)


def _colour_bar(ax: Axes, column: str, rows: int) -> None:
    mesh = ax.collections[-1]
    bar = ax.figure.colorbar(
        mesh, ax=ax, aspect=25, pad=0.02, shrink=min(1.0, 12 / rows), anchor=(0.5, 1)
    )
    limit = mesh.get_clim()[1] or 1.0
    ticks = ticks_within(-limit, limit)
    bar.set_ticks(ticks, labels=[number(tick) for tick in ticks])
    bar.ax.tick_params(labelsize=FONT)
    bar.ax.minorticks_off()
    bar.set_label(f"interaction in {SCORES[column]} (points)", fontsize=FONT + 1)


def _fit(ax: Axes, rows: int) -> None:
    """Shrink the numbers to their cells; leave them out where they could not be read."""
    figure = ax.get_figure(root=True)
    figure.draw_without_rendering()  # type: ignore[union-attr]
    box = ax.get_window_extent()
    size = min(FONT, min(box.width, box.height) * 72 / figure.dpi / rows / 3)  # type: ignore[union-attr]
    for text in list(ax.texts):
        if size < SMALLEST:
            text.remove()
        else:
            text.set_fontsize(size)
