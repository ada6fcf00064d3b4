"""The rates: how much each layer, and each stage with one common rate, can lose."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lesion.lesions.amounts import Amounts
from lesion.reports.plots.rows import NO_STAGE, label, not_measured, panel
from lesion.reports.plots.style import (
    COLOURS,
    FONT,
    INK,
    characters,
    legend_below,
    points,
    scale_amounts,
)
from lesion.results.advice import Advice

BAR = "#8DB6D6"
SKIPPED = COLOURS[0]


def rates_table(advice: Advice) -> pd.DataFrame:
    """One row a measured layer: its label, panel, rate, its stage's common rate, and skipped.

    rate: its largest safe ratio in %, of other damage the most harmful safe amount as it is shown,
    NaN where none is; common: what its stage's layers share, in %, NaN where it takes no part in
    one.
    """
    amounts = advice.amounts
    return pd.DataFrame(
        [
            {
                "label": label(entry.layer, entry.number, entry.kind),
                "panel": panel(entry.stage, entry.kind),
                "rate": amounts.shown(entry.rate) if entry.rate or advice.prunes else np.nan,
                "common": np.nan if entry.stage_rate is None else 100 * entry.stage_rate,
                "skipped": entry.skipped,
            }
            for entry in advice.layers
            if entry.status != "unmeasured"
        ],
        columns=["label", "panel", "rate", "common", "skipped"],
    )


def plot_rates(advice: Advice, ax: Axes | None = None) -> Axes:
    """Draw each layer's largest safe ratio as a bar, and each stage's common rate as a line.

    Skipped layers are hatched and crossed, and no stage line runs through them. Layers that were
    not measured stand below with their reasons. Of other damage than filters a bar reaches to the
    most harmful safe amount, harm rising to the right, and layers that stand none are crossed.
    """
    table = rates_table(advice)
    alone, ax = ax is None, ax if ax is not None else _axes(table)
    if advice.prunes:
        _draw_bars(ax, table)
        ax.set_xlim(0, 100)
    else:
        _draw_amounts(ax, table, advice.amounts)
    _draw_stages(ax, table)
    _finish(ax, table, advice, alone)
    return ax


def _axes(table: pd.DataFrame) -> Axes:
    count = max(1, len(table))
    row = 0.26 if count <= 12 else 0.2 if count <= 30 else 0.17
    names = max((len(name) for name in table["label"]), default=0) * FONT * 0.6 / 72
    return plt.subplots(figsize=(names + 4.8, row * count + 1.2), layout="constrained")[1]


def _draw_bars(ax: Axes, table: pd.DataFrame) -> None:
    places, skipped = np.arange(len(table)), table["skipped"].to_numpy(bool)
    for chosen, style in ((~skipped, _bar(False)), (skipped, _bar(True))):
        ax.barh(places[chosen], table["rate"][chosen], height=0.72, **style)
    _cross(ax, places[skipped], table["rate"][skipped] + 2.5)


def _draw_amounts(ax: Axes, table: pd.DataFrame, amounts: Amounts) -> None:
    """Bars from the least harmful amount on."""
    places, known = np.arange(len(table)), table["rate"].notna().to_numpy()
    shown = [*map(amounts.shown, amounts.grid), *table["rate"].dropna()]
    scale_amounts(ax, amounts, shown or [0.0])
    start, end = ax.get_xlim()
    ax.barh(places[known], table["rate"][known] - start, left=start, height=0.72, **_bar(False))
    _cross(ax, places[~known], np.full((~known).sum(), start + 0.025 * (end - start)))


def _cross(ax: Axes, places: np.ndarray, x: "np.ndarray | pd.Series[float]") -> None:
    ax.plot(x, places, ls="", marker="X", ms=6, color=SKIPPED, mec="white", mew=0.4)


def _bar(skipped: bool) -> dict[str, Any]:
    if skipped:
        return {"facecolor": "white", "edgecolor": SKIPPED, "hatch": "/////", "lw": 0.8}
    return {"facecolor": BAR, "edgecolor": "white", "lw": 0.0}


def _draw_stages(ax: Axes, table: pd.DataFrame) -> None:
    """The common rate as a line over the rows that take it, its value beside the first of them."""
    runs = (table["panel"] != table["panel"].shift()).cumsum()
    for _, part in table.groupby(runs):
        if part.index[0]:
            ax.axhline(part.index[0] - 0.5, color="0.75", lw=0.7, zorder=0)
        if part["panel"].iloc[0] in (NO_STAGE, ""):
            continue
        where: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "va": "center"}
        middle = part.index.to_numpy().mean()
        ax.text(1.02, middle, _stage_text(part), fontsize=FONT, color=INK, **where)
        line: dict[str, Any] = {"color": "black", "lw": 2.2, "solid_capstyle": "butt"}
        for place in part.index[~part["skipped"] & part["common"].notna()]:
            ax.plot([part.loc[place, "common"]] * 2, [place - 0.5, place + 0.5], **line)


def _stage_text(part: pd.DataFrame) -> str:
    name, rates = str(part["panel"].iloc[0]), part["common"].dropna()
    return f"{name}: {rates.max():.3g} %" if len(rates) else name


def _finish(ax: Axes, table: pd.DataFrame, advice: Advice, alone: bool) -> None:
    size = FONT if len(table) <= 30 else FONT - 1
    ax.set_yticks(np.arange(len(table)), list(table["label"]), fontsize=size)
    ax.set_ylim(len(table) - 0.4, -0.6)
    missing = (
        (entry.layer, entry.reason) for entry in advice.layers if entry.status == "unmeasured"
    )
    note = not_measured(missing, characters(ax))
    ax.set_xlabel(f"{advice.amounts.axis}\n{note}".strip(), fontsize=FONT)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=FONT)
    ax.grid(axis="x", color="0.88", lw=0.6)
    ax.set_axisbelow(True)
    sns.despine(ax=ax, left=True)
    legend_below(ax, _handles(table, advice), alone)


def _handles(table: pd.DataFrame, advice: Advice) -> list[Any]:
    most = points(advice.max_drop)
    if not advice.prunes:
        handles: list[Any] = [Patch(**_bar(False), label=f"{advice.amounts.worst} within {most}")]
        if table["rate"].isna().any():
            cross: dict[str, Any] = {"ls": "", "marker": "X", "color": SKIPPED}
            handles.append(Line2D([], [], label="none within it", **cross))
        return handles
    handles = [
        Patch(**_bar(False), label=f"largest ratio within {most}"),
        Line2D([], [], color="black", lw=2.2, label="common rate of the stage"),
    ]
    if table["skipped"].any():
        handles.append(Patch(**_bar(True), label="layer to skip"))
    return handles
