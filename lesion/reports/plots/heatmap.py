"""The heatmap: every layer at every ratio at one glance."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import SymLogNorm

from lesion.lesions.amounts import FILTERS, Amounts
from lesion.reports.plots.rows import (
    NO_STAGE,
    amounts_of,
    damage_of,
    not_measured,
    of_damage,
    one_criterion,
    score_name,
)
from lesion.reports.plots.style import FONT, INK, characters, number, points, ticks_within
from lesion.results.advice import Advice
from lesion.results.reading import DAMAGE


def heatmap_table(
    curves: pd.DataFrame, criterion: str | None = None, damage: str | None = None
) -> pd.DataFrame:
    """The drop in points: one row a layer in order of execution, one column an asked amount, the
    least harmful first.

    A layer or cell without numbers is NaN.
    """
    damage = damage_of(curves, damage)
    rows = one_criterion(curves, criterion, damage)
    order = list(dict.fromkeys(rows["label"]))
    table = rows.pivot(index="label", columns="amount", values="drop").reindex(order)
    measured = [float(amount) for amount in table.columns if pd.notna(amount)]
    return table[amounts_of(curves, damage).sort(measured)].astype(float)


def plot_heatmap(
    curves: pd.DataFrame,
    advice: Advice | None = None,
    criterion: str | None = None,
    ax: Axes | None = None,
    damage: str | None = None,
) -> Axes:
    """Draw the drop of each layer at each ratio; stages apart, cells without numbers hatched,
    layers without any number below with their reasons.

    White is no drop, red a drop, blue a gain. The colours are linear up to one point and
    logarithmic beyond, and end at the 98th percentile, so that one outlier flattens nothing; the
    colour bar's arrow says that values lie outside. With `advice` a step line ends each layer's
    largest safe ratio.
    damage: of another than filters its amounts stand below, the least harmful first
    """
    criterion = criterion or (advice.criterion if advice is not None else None)
    damage = damage_of(curves, damage, advice)
    whole, amounts = heatmap_table(curves, criterion, damage), amounts_of(curves, damage)
    table = whole.dropna(how="all")
    ax = ax if ax is not None else _axes(table)
    rows = one_criterion(curves, criterion, damage).drop_duplicates("label").set_index("label")
    mesh = _draw_cells(ax, table)
    missing = rows.loc[whole.index.difference(table.index, sort=False)]
    reasons = list(zip(missing["layer"], missing["reason"], strict=True))
    if table.isna().any(axis=None):
        what = "ratio" if damage == DAMAGE else "amount"
        some = _reasons(of_damage(curves, damage), rows.loc[table.index, "layer"], what)
        reasons.append(("hatched cells", some))
    _draw_axes(ax, table, amounts, not_measured(reasons, characters(ax)))
    _separate(ax, rows.loc[table.index, "panel"])
    if advice is not None:
        _step(ax, table, rows.loc[table.index], advice)
    _colour_bar(ax, mesh, table, f"drop in {score_name(advice)} (points)")
    ax.get_figure(root=True).draw_without_rendering()  # type: ignore[union-attr]
    _write(ax, mesh, table)
    return ax


def _reasons(curves: pd.DataFrame, layers: pd.Series[str], what: str) -> str:
    """Why single lesions of measured layers have no numbers."""
    failed = curves[curves["drop"].isna() & curves["layer"].isin(layers) & curves["amount"].notna()]
    return ", ".join(dict.fromkeys(failed["reason"])) or f"this {what} is not in the study"


def _axes(table: pd.DataFrame) -> Axes:
    count, ratios = table.shape
    row = 0.3 if count <= 12 else 0.22 if count <= 30 else 0.18
    names = max(len(name) for name in table.index) * FONT * 0.6 / 72
    size = names + 0.45 * max(ratios, 5) + 1.9, row * count + (1.5 if count < 9 else 0.9)
    return plt.subplots(figsize=size, layout="constrained")[1]


def _limit(table: pd.DataFrame) -> float:
    """Where the colours end, in points: most drops lie within, and one point always does."""
    sizes = np.abs(table.to_numpy()[table.notna().to_numpy()])
    return max(1.0, float(np.quantile(sizes, 0.98)))


def _draw_cells(ax: Axes, table: pd.DataFrame) -> QuadMesh:
    limit = _limit(table)
    ax.patch.set(facecolor="0.95", hatch="/////", edgecolor="0.8")
    return ax.pcolormesh(
        np.ma.masked_invalid(table.to_numpy()),
        cmap=sns.color_palette("vlag", as_cmap=True),
        norm=SymLogNorm(1.0, vmin=-limit, vmax=limit),
        edgecolors="white",
        linewidth=0.5,
    )


def _draw_axes(ax: Axes, table: pd.DataFrame, amounts: Amounts, note: str) -> None:
    ax.set_ylim(len(table), 0)
    ax.set_yticks(np.arange(len(table)) + 0.5, list(table.index))
    shown = [
        amounts.only or f"{amounts.shown(amount):.3g}" for amount in table.columns.astype(float)
    ]
    ax.set_xticks(np.arange(table.shape[1]) + 0.5, shown, fontsize=FONT)
    title = "pruning ratio (%)" if amounts == FILTERS else amounts.axis
    ax.set_xlabel(f"{title}\n{note}".strip(), fontsize=FONT)
    ax.tick_params(length=0)
    sns.despine(ax=ax, left=True, bottom=True)


def _separate(ax: Axes, panels: pd.Series[str]) -> None:
    """A line between neighbouring rows of different stages, and each run's name at its right."""
    runs = (panels != panels.shift()).cumsum().to_numpy()
    for run in np.unique(runs):
        place = np.flatnonzero(runs == run)
        if place[0]:
            ax.axhline(place[0], color=INK, lw=1.4)
        name = panels.iloc[place[0]]
        if name != NO_STAGE:
            ax.text(
                1.02,
                place.mean() + 0.5,
                name,
                transform=ax.get_yaxis_transform(),
                va="center",
                fontsize=FONT,
                color=INK,
            )


def _step(ax: Axes, table: pd.DataFrame, rows: pd.DataFrame, advice: Advice) -> None:
    """A line behind the cells that are safe."""
    entries = {(entry.layer, entry.kind): entry for entry in advice.layers}
    harm = np.array([advice.amounts.severity(amount) for amount in table.columns.astype(float)])
    for i, key in enumerate(zip(rows["layer"], rows["kind"], strict=True)):
        if key in entries:
            safe, rate = entries[key].status == "safe", entries[key].rate
            end = int((harm <= advice.amounts.severity(rate) + 1e-9).sum()) if safe else 0
            ax.plot([end, end], [i + 0.06, i + 0.94], color="black", lw=2.2, clip_on=False)
    what = "largest ratio" if advice.prunes else advice.amounts.worst
    ax.set_title(f"bar: {what} within {points(advice.max_drop)}", loc="left", fontsize=FONT)


def _colour_bar(ax: Axes, mesh: QuadMesh, table: pd.DataFrame, title: str) -> None:
    limit, flat = _limit(table), table.to_numpy()[table.notna().to_numpy()]
    ends = {(False, False): "neither", (True, False): "min", (False, True): "max"}
    beyond = bool(flat.min() < -limit), bool(flat.max() > limit)
    few = len(table) < 9
    settled = ax.get_figure(root=True).get_layout_engine() is None  # type: ignore[union-attr]
    bar = ax.figure.colorbar(
        mesh,
        ax=ax,
        extend=ends.get(beyond, "both"),
        location="bottom" if few else "right",
        aspect=25,
        shrink=1.0 if few else min(1.0, 22 / len(table)),
        anchor=(0.5, 0.5 if few else 1),
        pad=0.2 if settled else 0.1 if few else 0.02,
    )
    lowest = max(-limit, min(-1.0, float(flat.min())))
    ticks = ticks_within(lowest, limit)
    bar.ax.set(**{"xlim" if few else "ylim": (lowest, limit)})
    bar.set_ticks(ticks, labels=[number(tick) for tick in ticks])
    bar.ax.tick_params(labelsize=FONT)
    bar.ax.minorticks_off()
    bar.set_label(title, fontsize=FONT + 1)


def short(drop: float) -> str:
    """A drop in at most three characters and a sign: one decimal below ten points.

    >>> short(0.04), short(-0.04), short(-0.26), short(9.94), short(9.96), short(83.2)
    ('0.0', '0.0', '−0.3', '9.9', '10', '83')
    """
    text = f"{drop:.1f}" if abs(drop) < 9.95 else f"{drop:.0f}"
    return "0.0" if text == "-0.0" else text.replace("-", "\N{MINUS SIGN}")


def _cell_points(ax: Axes, table: pd.DataFrame) -> np.ndarray:
    """Width and height of a cell in points."""
    box = ax.get_window_extent()
    size = np.array([box.width / max(1, table.shape[1]), box.height / len(table)])
    return size * 72 / ax.get_figure(root=True).dpi  # type: ignore[union-attr]


def _write(ax: Axes, mesh: QuadMesh, table: pd.DataFrame) -> None:
    """Write the layers' names, and the drops if they fit at a size that can be read."""
    width, height = _cell_points(ax, table)
    ax.tick_params(axis="y", labelsize=min(FONT, height / 1.25))
    size = min(FONT, height / 1.3, width / 2.4)
    if size < 5:
        return
    for (i, j), drop in np.ndenumerate(table.to_numpy()):
        if np.isfinite(drop):
            red, green, blue, _ = mesh.cmap(mesh.norm(drop))
            dark = 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.5
            ax.text(
                j + 0.5,
                i + 0.5,
                short(drop),
                ha="center",
                va="center_baseline",
                fontsize=size,
                color="white" if dark else INK,
            )
