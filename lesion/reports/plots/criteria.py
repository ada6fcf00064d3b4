"""Criteria beside the oracle: how each ranks channels, layer by layer and on the mean of layers."""

import textwrap
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lesion.errors import EvidenceError
from lesion.harmless import name
from lesion.lesions.agreement import Agreement
from lesion.reports.plots.style import COLOURS, FONT, INK, PALE, characters, legend_below
from lesion.words import grouped

NEEDS = ("weights", "activations", "gradients")
WIDE = 4.2  # inches of the axes themselves
TABLE = ["criterion", "needs", "spearman", "low", "high"]


def criteria_table(agreement: Agreement) -> pd.DataFrame:
    """The criteria that rank a layer at least, the best first: criterion, needs, spearman, low and
    high, the ends of its interval. Raises EvidenceError without one."""
    table = agreement.criteria.dropna(subset=["spearman"])
    if table.empty:
        raise EvidenceError("Expected a criterion that ranks a layer's channels, got none.")
    ranked = table.sort_values("spearman", ascending=False, kind="stable")
    return ranked[TABLE].reset_index(drop=True)


def plot_criteria(agreement: Agreement, ax: Axes | None = None) -> Axes:
    """Draw each criterion's Spearman correlation with the oracle, the best at the top.

    A dot is the mean of the layers, its line the interval, a pale dot one layer; the colour says
    what the criterion needs.
    """
    table = criteria_table(agreement)
    alone = ax is None
    if ax is None:
        names = table["criterion"].map(name).str.len().max() * FONT * 0.6 / 72
        size = (WIDE + names, 1.2 + 0.2 * len(table))
        ax = plt.subplots(figsize=size, layout="constrained")[1]
    place = {criterion: row for row, criterion in enumerate(table["criterion"])}
    cells = agreement.layers.dropna(subset=["spearman"])
    rows = cells["criterion"].map(place)
    ax.scatter(cells["spearman"], rows, s=9, color=PALE, alpha=0.55, lw=0, zorder=2)
    for needs, part in table.groupby("needs", sort=False):
        rows = part["criterion"].map(place)
        style = _style(str(needs))
        ax.hlines(rows, part["low"], part["high"], color=style["color"], lw=1.6, zorder=3)
        ax.plot(part["spearman"], rows, ls="", zorder=4, label=needs, **style)
    _finish(ax, agreement, table)
    legend_below(ax, _handles(table), alone)
    return ax


def _style(needs: str) -> dict[str, Any]:
    place = NEEDS.index(needs) if needs in NEEDS else len(NEEDS)
    colour, marker = COLOURS[(1, 2, 0, 3)[place]], "os^D"[place]
    return {"color": colour, "marker": marker, "ms": 5.5, "mec": "white", "mew": 0.5}


def _finish(ax: Axes, agreement: Agreement, table: pd.DataFrame) -> None:
    ax.axvline(0, color=INK, lw=0.8, zorder=1)
    ax.set_ylim(len(table) - 0.4, -0.6)
    ax.set_yticks(np.arange(len(table)), [name(text) for text in table["criterion"]])
    ax.set_xlim(-1.03, 1.03)
    ax.set_xlabel("Spearman's correlation with the oracle", fontsize=FONT + 1)
    title = f"{agreement.ranked} on {grouped(agreement.images)} images"
    lines = textwrap.fill(title, characters(ax, WIDE / ax.get_figure(root=True).get_figwidth()))  # type: ignore[union-attr]
    ax.set_title(lines, loc="left", fontsize=FONT + 1)
    ax.tick_params(labelsize=FONT)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="0.92", lw=0.6)
    ax.set_axisbelow(True)
    sns.despine(ax=ax, left=True)


def _handles(table: pd.DataFrame) -> list[Any]:
    used = [needs for needs in (*NEEDS, "removals") if needs in set(table["needs"])]
    handles = [Line2D([], [], ls="", label=needs, **_style(needs)) for needs in used]
    return [*handles, Line2D([], [], ls="", marker="o", ms=3, color=PALE, lw=0, label="a layer")]
