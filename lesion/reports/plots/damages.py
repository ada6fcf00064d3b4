"""Kinds of damage side by side, by what they save: of all layers, and layer by layer."""

from __future__ import annotations

from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from lesion.errors import EvidenceError, LesionError
from lesion.lesions.lesion import Lesion
from lesion.reports.plots.frames import check_columns
from lesion.reports.plots.rows import label, of_recovery
from lesion.reports.plots.style import (
    DASHES,
    FONT,
    INK,
    End,
    label_ends,
    line_style,
    number,
    points,
    ticks_within,
)
from lesion.results.drops import paired, proportion
from lesion.results.held import default
from lesion.results.reading import CRITERION, DAMAGE, column_of
from lesion.study.study import Study

RESOURCES = {
    "bytes": "stored bytes",
    "macs": "multiply-accumulates with weights that are not zero",
    "dense_macs": "multiply-accumulates of dense kernels",
    "bops": "bit operations",
}
KINDS = ("free", "layer")  # of targets that are layers
FAINT = 0.35  # of intervals, which many damages draw across each other's lines
LINEAR = 1.0  # points up to which drops are drawn in proportion
MOST, LEAST = 100.0, 1.0  # per cent
HALVES = (100.0, 50.0, 25.0, 12.5, 6.25, 3.125, 1.5625)


def damages_table(
    curves: pd.DataFrame, saved: str = "bytes", study: Study | None = None, confidence: float = 95
) -> pd.DataFrame:
    """What damages cost and save on the mean over the layers that all of them fit.

    One row a kind of damage and amount, in order of harm: damage, amount; layers, how many; saved,
    the mean share (%) of what a layer has of "bytes", "macs", "dense_macs" or "bops"; drop, low,
    high, the means of the layers' in points. Amounts that not all of these layers have
    are left out.

    study: the curves' own; where all lesions of a row have seen all images, low and high are then
    of the mean itself at `confidence` per cent (Bonett and Price, on each image's mean over the
    layers). Else they are the means of the layers' ends, which lie further apart.
    Raises EvidenceError where no two damages have a layer in common that both measured.
    """
    rows = _measured(curves, saved)
    layers = [set(part["label"]) for _, part in rows.groupby("damage", sort=False)]
    common = set.intersection(*layers) if len(layers) > 1 else set()
    if not common:
        raise EvidenceError(
            "Expected two kinds of damage that were measured on the same layers, to set them side "
            f"by side, got {', '.join(dict.fromkeys(rows['damage'])) or 'none'}: sweep another "
            "(--damage filters,quantise)."
        )
    rows = rows[rows["label"].isin(common)]
    groups = rows.groupby(["damage", "amount"], sort=False)
    table = groups.agg(
        layers=("label", "nunique"),
        saved=(f"{saved}_saved", "mean"),
        drop=("drop", "mean"),
        low=("low", "mean"),
        high=("high", "mean"),
    ).reset_index()
    table = table[table["layers"] == len(common)].reset_index(drop=True)
    return table if study is None else _of_images(table, set(rows["layer"]), study, confidence)


def _of_images(
    table: pd.DataFrame, layers: set[str], study: Study, confidence: float
) -> pd.DataFrame:
    """With the intervals of the means where every lesion has seen every image."""
    column, intact = column_of(study), study.intact()
    base = intact.outcomes[column].astype(float)
    usual = _usual([lesion.criterion for lesion in study.lesions if lesion.damage == DAMAGE])
    groups: dict[tuple[str, float], list[Lesion]] = {}
    for lesion in study.lesions:
        alone = not lesion.recovery and lesion.kind in KINDS and lesion.target in layers
        if alone and lesion.criterion in (usual, "") and lesion not in study.failed:
            groups.setdefault((lesion.damage, lesion.amount), []).append(lesion)
    for row, key in enumerate(zip(table["damage"], table["amount"], strict=True)):
        lesions = groups[key]
        if all(study.seen(lesion).sum() >= len(intact) for lesion in lesions):
            scores = np.mean([study.outcomes(lesion)[column] for lesion in lesions], axis=0)
            ends = 100 * np.array(paired(base, scores, proportion(confidence)))
            table.loc[row, ["drop", "low", "high"]] = ends
    return table


def damage_map_table(
    curves: pd.DataFrame, max_drop: float = 1.0, saved: str = "bytes"
) -> pd.DataFrame:
    """What each damage may save of each layer, in per cent of its bytes or other resource.

    It is the most that an amount saves whose drop lies within `max_drop` points by the upper end of
    its interval, 0 where none does: one row a layer in order of execution, one column a damage, the
    one that saves most on the mean first; NaN where a damage has no numbers of a layer.
    """
    rows = _measured(curves, saved)
    within = rows[f"{saved}_saved"].where(rows["high"] <= max_drop, 0.0).clip(lower=0)
    rows = rows.assign(within=within)
    table = rows.pivot_table(
        index="label", columns="damage", values="within", aggfunc="max", sort=False
    )
    order = dict.fromkeys(rows["label"])
    means = table[list(dict.fromkeys(rows["damage"]))].mean()
    return table.reindex(list(order))[list(means.sort_values(ascending=False, kind="stable").index)]


def plot_damages(
    curves: pd.DataFrame,
    saved: str = "bytes",
    ax: Axes | None = None,
    study: Study | None = None,
    confidence: float = 95,
) -> Axes:
    """Draw the mean drop of each kind of damage against what it leaves, with intervals.

    See `damages_table`. Drops are in proportion up to one point, and logarithmic beyond; what is
    left halves from left to right, and is drawn down to 1 %.
    """
    table = damages_table(curves, saved, study, confidence)
    table["left"] = (MOST - table["saved"]).clip(lower=LEAST)
    ax = ax if ax is not None else plt.subplots(figsize=(7.2, 4.6), layout="constrained")[1]
    ends = []
    for place, (name, part) in enumerate(table.groupby("damage", sort=False)):
        part = part.sort_values("left", ascending=False)
        style = line_style(place)
        ax.plot(
            part["left"],
            part["drop"],
            ls=DASHES[place // 7 % 7],
            lw=1.4,
            ms=5,
            mec="white",
            mew=0.5,
            zorder=3,
            **style,
        )
        ends_of = part["left"], part["low"], part["high"]
        ax.vlines(*ends_of, color=style["color"], lw=1.2, alpha=FAINT, zorder=2)
        last = part.iloc[-1]
        ends.append(End(last["left"], last["drop"], str(name), style["color"]))
    _finish(ax, table, saved)
    ax.get_figure(root=True).draw_without_rendering()  # type: ignore[union-attr]
    label_ends(ax, ends)
    return ax


def plot_damage_map(
    curves: pd.DataFrame, max_drop: float = 1.0, saved: str = "bytes", ax: Axes | None = None
) -> Axes:
    """Draw what each damage may save of each layer within a tolerance, see `damage_map_table`.

    Cells without numbers are hatched.
    """
    table = damage_map_table(curves, max_drop, saved)
    if ax is None:
        names = max(len(name) for name in table.index) * FONT * 0.6 / 72
        size = names + 0.55 * table.shape[1] + 1.6, 0.22 * len(table) + 2.0
        ax = plt.subplots(figsize=size, layout="constrained")[1]
    ax.patch.set(facecolor="0.95", hatch="/////", edgecolor="0.8")
    mesh = ax.pcolormesh(
        np.ma.masked_invalid(table.to_numpy()),
        cmap="cividis",
        vmin=0,
        vmax=MOST,
        edgecolors="white",
        linewidth=0.5,
    )
    ax.set_ylim(len(table), 0)
    ax.set_yticks(np.arange(len(table)) + 0.5, list(table.index), fontsize=FONT - 1)
    ax.set_xticks(
        np.arange(table.shape[1]) + 0.5,
        list(table.columns),
        fontsize=FONT,
        rotation=40,
        ha="right",
        rotation_mode="anchor",
    )
    ax.tick_params(length=0)
    sns.despine(ax=ax, left=True, bottom=True)
    for (row, column), share in np.ndenumerate(table.to_numpy()):
        if np.isfinite(share):
            colour = INK if share > 0.6 * MOST else "white"
            ax.text(
                column + 0.5,
                row + 0.5,
                f"{share:.0f}",
                ha="center",
                va="center_baseline",
                fontsize=FONT - 1,
                color=colour,
            )
    bar = ax.figure.colorbar(mesh, ax=ax, aspect=30, pad=0.02, shrink=min(1.0, 22 / len(table)))
    bar.ax.tick_params(labelsize=FONT)
    bar.set_label(f"{RESOURCES[saved]} saved (%)", fontsize=FONT + 1)
    ax.set_title(f"most that is saved within {points(max_drop)}", loc="left", fontsize=FONT + 1)
    return ax


def _measured(curves: pd.DataFrame, saved: str) -> pd.DataFrame:
    """A row a layer, damage and amount that was measured one-shot; seeds and roundings are merged,
    and of filters one criterion is taken."""
    if saved not in RESOURCES:
        raise LesionError(f"Expected one of {', '.join(RESOURCES)}, got {saved!r}.")
    check_columns(curves, ("damage", "layer", "amount", "drop", "low", "high", f"{saved}_saved"))
    rows = of_recovery(curves, "")
    known = rows["drop"].notna() & rows["low"].notna() & rows[f"{saved}_saved"].notna()
    rows = rows[known & rows["kind"].isin(KINDS)]
    usual = _usual(rows["criterion"][rows["damage"] == DAMAGE])
    rows = rows[(rows["damage"] != DAMAGE) | (rows["criterion"] == usual)]
    names = zip(rows["layer"], rows["number"], strict=True)
    rows = rows.assign(label=[label(layer, number) for layer, number in names])
    numbers = {"drop": "mean", "low": "min", "high": "max", f"{saved}_saved": "mean"}
    keys = ["label", "layer", "damage", "amount"]
    return rows.groupby(keys, sort=False).agg(numbers).reset_index()


def _usual(criteria: Iterable[str]) -> str:
    """The criterion that is taken of those of filters."""
    each = list(dict.fromkeys(criteria))
    return default(each, CRITERION) if each else ""


def _finish(ax: Axes, table: pd.DataFrame, saved: str) -> None:
    ax.set_yscale("symlog", linthresh=LINEAR, linscale=0.8)
    low, high = min(-0.5, table["low"].min()), max(2.0, table["high"].max())
    ax.set_ylim(1.1 * low, 1.15 * high)
    ticks = ticks_within(low, high)
    ax.set_yticks(ticks, [number(tick) for tick in ticks])
    ax.minorticks_off()
    ax.axhline(0, color=INK, lw=0.8, zorder=1)
    ax.set_xscale("log", base=2)
    ax.set_xlim(max(table["left"].max(), 50.0) * 1.08, table["left"].min() / 1.08)
    shown = [half for half in HALVES if table["left"].min() / 1.08 <= half <= ax.get_xlim()[0]]
    ax.set_xticks(shown, [f"{half:.3g}" for half in shown])
    ax.set_xlabel(f"{RESOURCES[saved]} of a layer that remain (%)", fontsize=FONT + 1)
    count = table["layers"].iloc[0]
    ax.set_ylabel(f"drop, mean of {count} layers one at a time (points)", fontsize=FONT + 1)
    ax.tick_params(labelsize=FONT)
    ax.grid(axis="y", color="0.92", lw=0.6)
    ax.set_axisbelow(True)
    sns.despine(ax=ax)
