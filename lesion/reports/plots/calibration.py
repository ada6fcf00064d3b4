"""Calibration: what rates were predicted to lose together, beside what they lost."""

import textwrap
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lesion.errors import EvidenceError, LesionError
from lesion.reports.plots.frames import check_columns
from lesion.reports.plots.rows import label
from lesion.reports.plots.style import (
    FONT,
    INK,
    characters,
    legend_below,
    line_style,
    number,
    ticks_within,
)

COLUMNS = ("network", "predicted", "upper", "measured")
UPPER: dict[str, Any] = {"marker": "_", "color": "0.6", "mew": 1.0}


def calibration_table(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a set of rates: network, predicted, upper, measured, slack and within.

    frame: network, and in points the predicted joint drop, the upper prediction, the measured drop.
    slack: upper − measured, how loose the upper prediction is; within: whether it held (slack ≥ 0).
    Raises LesionError where a column is missing or a number is, EvidenceError without rows.

    >>> table = calibration_table(pd.DataFrame({
    ...     "network": "a", "predicted": [1.0, 2.0], "upper": [1.5, 3.0], "measured": [1.0, 3.5]}))
    >>> table["slack"].tolist(), table["within"].tolist()
    ([0.5, -0.5], [True, False])
    """
    check_columns(frame, COLUMNS)
    if frame.empty:
        raise EvidenceError("Expected at least one measured set of rates, got none; measure one.")
    broken = int((~np.isfinite(frame[[*COLUMNS[1:]]].to_numpy(float))).any(axis=1).sum())
    if broken:
        raise LesionError(
            f"Expected finite drops, got {broken} of {len(frame)} rows without; leave these out."
        )
    slack = frame["upper"] - frame["measured"]
    return frame[[*COLUMNS]].assign(slack=slack, within=slack >= 0).reset_index(drop=True)


def plot_calibration(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the measured against the predicted joint drop, one point a set of rates.

    frame: as for `calibration_table`. The line is a perfect prediction, a pale dash above or below
    each point its upper prediction. Points beyond that are large and hollow; the title says how
    many are within it, the legend how many of each network. Axes are linear up to one point and
    logarithmic beyond.
    """
    table = calibration_table(frame)
    alone = ax is None
    ax = ax if ax is not None else plt.subplots(figsize=(5.0, 5.4), layout="constrained")[1]
    ax.plot(table["predicted"], table["upper"], ls="", ms=5, zorder=2, label="upper", **UPPER)
    handles: list[Any] = []
    for i, (name, part) in enumerate(table.groupby("network", sort=False)):
        _draw_points(ax, part, i)
        text = f"{label(str(name))}: {_share(part)} within"
        handles.append(Line2D([], [], ls="", label=text, **_style(i, True)))
    _bend(ax, table)
    _finish(ax, table)
    _legend(ax, [*handles, *_others(table)], alone)
    return ax


def _share(part: pd.DataFrame) -> str:
    return f"{int(part['within'].sum())} of {len(part)}"


def _style(place: int, within: bool) -> dict[str, Any]:
    style = line_style(place)
    if within:
        return {**style, "ms": 5.0, "mec": "white", "mew": 0.4}
    return {**style, "ms": 7.5, "mfc": "none", "mec": style["color"], "mew": 1.8}


def _draw_points(ax: Axes, part: pd.DataFrame, place: int) -> None:
    for within in (True, False):
        points = part[part["within"] == within]
        if len(points):
            ax.plot(
                points["predicted"],
                points["measured"],
                ls="",
                zorder=3 if within else 4,
                label=points["network"].iloc[0],
                **_style(place, within),
            )


def _bend(ax: Axes, table: pd.DataFrame) -> None:
    """The same axes both ways: linear up to one point, logarithmic beyond, the diagonal drawn."""
    drops = table[["predicted", "upper", "measured"]].to_numpy(float)
    low, high = min(0.0, 1.15 * drops.min() - 0.1), max(1.0, 1.15 * drops.max())
    ticks = ticks_within(low, high)
    ax.plot([low, high], [low, high], color=INK, lw=0.9, zorder=1, label="perfect")
    for side in ("x", "y"):
        getattr(ax, f"set_{side}scale")("symlog", linthresh=1.0, linscale=1.0)
        getattr(ax, f"set_{side}lim")(low, high)
        getattr(ax, f"set_{side}ticks")(ticks, [number(tick) for tick in ticks])
    ax.minorticks_off()


def _finish(ax: Axes, table: pd.DataFrame) -> None:
    share = 100 * table["within"].mean()
    text = f"within the upper prediction: {_share(table)} ({share:.3g} %)"
    width = characters(ax, ax.get_position().width)
    ax.set_title(textwrap.fill(text, width), loc="left", fontsize=FONT + 1)
    ax.set_xlabel("predicted joint drop (points)", fontsize=FONT + 1)
    ax.set_ylabel("measured joint drop (points)", fontsize=FONT + 1)
    ax.tick_params(labelsize=FONT)
    ax.grid(color="0.93", lw=0.6)
    ax.set_axisbelow(True)
    sns.despine(ax=ax)


def _legend(ax: Axes, handles: list[Any], alone: bool) -> None:
    """In as many columns as the longest of the texts, which hold networks' names, leaves room."""
    if not alone:
        return legend_below(ax, handles, alone)
    figure: Any = ax.figure
    widest = max(0.53 * FONT * len(handle.get_label()) + 38 for handle in handles)
    figure.legend(
        handles=handles,
        loc="outside lower center",
        frameon=False,
        fontsize=FONT,
        ncols=max(1, int(72 * figure.get_figwidth() / widest)),
        handlelength=3,
        columnspacing=1.5,
    )


def _others(table: pd.DataFrame) -> list[Any]:
    handles = [
        Line2D([], [], color=INK, lw=0.9, label="as predicted"),
        Line2D([], [], ls="", ms=6, label="upper prediction", **UPPER),
    ]
    if not table["within"].all():
        style = {**_style(0, False), "mec": INK}
        handles.append(Line2D([], [], ls="", label="beyond the upper prediction", **style))
    return handles
