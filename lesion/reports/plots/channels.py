"""The rates of an allocation as bars over channels: how many of each unit stay, how many fall."""

import math
import textwrap
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from lesion.harmless import figure
from lesion.rates.allocation import Allocation
from lesion.reports.plots.heatmap import short
from lesion.reports.plots.rows import NO_STAGE, SCORES, label, stage_name
from lesion.reports.plots.style import COLOURS, FONT, INK, characters, legend_below
from lesion.words import signed

TABLE = ("label", "panel", "channels", "kept", "pruned", "rate", "reason")
KEPT: dict[str, Any] = {"facecolor": COLOURS[1], "edgecolor": "white", "lw": 0.0}
PRUNED: dict[str, Any] = {
    "facecolor": "white",
    "edgecolor": COLOURS[0],
    "hatch": "/////",
    "lw": 0.8,
}
WHOLE: dict[str, Any] = {"facecolor": "0.85", "edgecolor": "0.55", "lw": 0.6}
SMALLEST = 6.0  # points: below that, labels are left out rather than shrunk


def channels_table(allocation: Allocation) -> pd.DataFrame:
    """One row a unit, in order of execution: its channels, and how many stay and fall.

    Columns: label, panel (its stage), channels, kept, pruned (channels − kept), rate (the pruned
    in %), reason (why it has this rate, where that was not chosen, else "").
    """
    table = allocation.table()
    names = zip(table["unit"], table["kind"], strict=True)
    return table.assign(
        label=[label(unit, None, kind) for unit, kind in names],
        panel=[stage_name(stage) for stage in table["stage"]],
        pruned=table["channels"] - table["kept"],
        rate=100 * table["rate"],
    )[[*TABLE]]


def plot_channels(allocation: Allocation, ax: Axes | None = None) -> Axes:
    """Draw each unit's channels as a bar: those that stay solid, those that fall hatched.

    Lines part the stages; the share that falls stands behind each bar. Units whose rate was not
    chosen are grey, with the reasons below. The title says what remains of the costs, and the
    joint drop, predicted or measured.
    """
    allocation.check_filters("a picture of channels")
    table = channels_table(allocation)
    alone, ax = ax is None, ax if ax is not None else _axes(table)
    _draw_bars(ax, table)
    _separate(ax, table)
    _finish(ax, table, allocation, alone)
    ax.get_figure(root=True).draw_without_rendering()  # type: ignore[union-attr]
    _name(ax, table)
    return ax


def _axes(table: pd.DataFrame) -> Axes:
    count = len(table)
    row = 0.26 if count <= 12 else 0.2 if count <= 30 else 0.17
    names = max(len(name) for name in table["label"]) * FONT * 0.6 / 72
    return plt.subplots(figsize=(names + 4.8, row * count + 1.4), layout="constrained")[1]


def _fixed(table: pd.DataFrame) -> np.ndarray:
    """The units that stay whole for another reason than the solver's choice."""
    return (table["reason"].ne("") & table["pruned"].eq(0)).to_numpy(bool)


def _draw_bars(ax: Axes, table: pd.DataFrame) -> None:
    places, fixed, cut = np.arange(len(table)), _fixed(table), table["pruned"].to_numpy() > 0
    kept, pruned = table["kept"].to_numpy(), table["pruned"].to_numpy()
    for chosen, style in ((~fixed, KEPT), (fixed, WHOLE)):
        ax.barh(places[chosen], kept[chosen], height=0.72, **style)
    ax.barh(places[cut], pruned[cut], left=kept[cut], height=0.72, **PRUNED)


def _separate(ax: Axes, table: pd.DataFrame) -> None:
    """A line between neighbouring rows of different stages, and each run's name at its right."""
    runs = (table["panel"] != table["panel"].shift()).cumsum()
    for _, part in table.groupby(runs):
        if part.index[0]:
            ax.axhline(part.index[0] - 0.5, color="0.6", lw=0.8, zorder=0)
        if part["panel"].iloc[0] != NO_STAGE:
            ax.text(
                1.02,
                part.index.to_numpy().mean(),
                part["panel"].iloc[0],
                fontsize=FONT,
                va="center",
                transform=ax.get_yaxis_transform(),
                color=INK,
            )


def _finish(ax: Axes, table: pd.DataFrame, allocation: Allocation, alone: bool) -> None:
    width = characters(ax, ax.get_position().width)
    pad = 6 if alone else 18  # the legend lies between
    ax.set_title(_title(allocation, width), loc="left", fontsize=FONT + 1, pad=pad)
    ax.set(xlim=(0, 1.15 * table["channels"].max()), ylim=(len(table) - 0.4, -0.6))
    ax.set_yticks(np.arange(len(table)), list(table["label"]))
    ax.set_xlabel(f"channels\n{_reasons(table, width)}".strip(), fontsize=FONT)
    ax.tick_params(axis="y", length=0, labelsize=FONT if len(table) <= 30 else FONT - 1)
    ax.tick_params(axis="x", labelsize=FONT)
    ax.grid(axis="x", color="0.88", lw=0.6)
    ax.set_axisbelow(True)
    sns.despine(ax=ax, left=True)
    handles: list[Any] = [Patch(**KEPT, label="stay"), Patch(**PRUNED, label="fall")]
    if _fixed(table).any():
        handles.append(Patch(**WHOLE, label="whole without a choice"))
    if alone:
        legend_below(ax, handles, alone)
    else:  # inside, it would lie on bars
        ax.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=len(handles),
            fontsize=FONT,
            frameon=False,
            borderaxespad=0.1,
        )


def _title(allocation: Allocation, width: int) -> str:
    intact, pruned = allocation.intact, allocation.pruned
    shares = {
        "MACs": pruned.macs / intact.macs,
        "parameters": pruned.parameters / intact.parameters,
    }
    if allocation.milliseconds:
        shares["time"] = allocation.milliseconds[1] / allocation.milliseconds[0]
    costs = ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())
    lines = f"what remains: {costs}", _loss(allocation)
    return "\n".join(textwrap.fill(line, width) for line in lines)


def _loss(allocation: Allocation) -> str:
    score = SCORES[allocation.column]
    if math.isnan(allocation.drop):
        return f"drop in {score} not predicted"
    unit = "" if allocation.column == "evaluation" else " points"
    expected, most = signed(allocation.drop, 2), signed(allocation.high, 2)
    return f"{allocation.known} drop in {score}: {expected}{unit}, at most {most}"


def _reasons(table: pd.DataFrame, width: int) -> str:
    """Why units are whole without a choice, each reason with its units or their number."""
    groups = table[_fixed(table)].groupby("reason", sort=False)["label"]
    parts = [
        f"{names.iloc[0] if len(names) == 1 else f'{len(names)} units'} ({figure(str(reason))})"
        for reason, names in groups
    ]
    return textwrap.fill("whole without a choice: " + "; ".join(parts), width) if parts else ""


def _name(ax: Axes, table: pd.DataFrame) -> None:
    """Shrink the labels to the rows, then leave some out; write the rates where all fit."""
    height = ax.get_window_extent().height * 72 / ax.get_figure(root=True).dpi  # type: ignore[union-attr]
    room = height / len(table) / 1.25
    size = min(FONT if len(table) <= 30 else FONT - 1, max(room, SMALLEST))
    step = math.ceil(SMALLEST / room) if room < SMALLEST else 1
    ax.set_yticks(np.arange(0, len(table), step), list(table["label"])[::step], fontsize=size)
    if step > 1:
        return
    gap = 0.008 * table["channels"].max()
    for place, end, rate in zip(table.index, table["channels"], table["rate"], strict=True):
        if rate:
            ax.text(
                end + gap,
                place,
                f"−{short(rate)} %",
                va="center_baseline",
                color=INK,
                fontsize=size - 0.5,
            )
