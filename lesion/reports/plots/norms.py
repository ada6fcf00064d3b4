"""Sorted filter norms: Li's figure 2a, where flat curves belong to sensitive layers."""

from collections.abc import Collection, Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lesion.errors import EvidenceError
from lesion.network.anatomy import Anatomy
from lesion.reports.plots.rows import in_order, label, stage_name
from lesion.reports.plots.style import FONT, PALE, End, label_ends, legend_below, stage_style


def norms_table(norms: Mapping[str, np.ndarray], anatomy: Anatomy | None = None) -> pd.DataFrame:
    """The filter norms of each layer, sorted descending and divided by the largest.

    norms: the l1 norm of every filter, by layer. Columns: layer, label, panel (the stage), share
    (%, index / number of filters, from 0), norm (1 at the first filter; 0 where all are 0). Layers
    come in order of execution if the anatomy is given. Raises EvidenceError without norms.
    Source: Li et al. 2017 (arXiv 1608.08710), figure 2a.

    >>> table = norms_table({"conv1": np.array([1.0, 4.0, 2.0, 3.0])})
    >>> table[["share", "norm"]].to_numpy().tolist()
    [[0.0, 1.0], [25.0, 0.75], [50.0, 0.5], [75.0, 0.25]]
    """
    if not norms:
        raise EvidenceError("Expected the filter norms of at least one layer, got none.")
    places = {layer.name: i for i, layer in enumerate(anatomy.layers)} if anatomy else {}
    names = sorted(norms, key=lambda name: places.get(name, len(places)))
    return pd.concat([_curve(name, norms[name], anatomy) for name in names], ignore_index=True)


def _curve(name: str, norms: np.ndarray, anatomy: Anatomy | None) -> pd.DataFrame:
    layer = anatomy.layer.get(name) if anatomy else None
    values = np.sort(np.asarray(norms, float).ravel())[::-1]
    return pd.DataFrame(
        {
            "layer": name,
            "label": label(name, layer.number if layer else None),
            "panel": stage_name(layer.stage if layer else None),
            "share": 100 * np.arange(len(values)) / max(1, len(values)),
            "norm": values / (values[0] if len(values) and values[0] > 0 else 1.0),
        }
    )


def plot_norms(
    norms: Mapping[str, np.ndarray],
    anatomy: Anatomy | None = None,
    highlight: Collection[str] = (),
    ax: Axes | None = None,
) -> Axes:
    """Draw each layer's sorted norms; colour and dashes tell the stage.

    highlight: the layers (for instance the sensitive ones) to draw thick and to name.
    """
    table = norms_table(norms, anatomy)
    stages = in_order(table["panel"])
    alone, chosen = ax is None, table[table["layer"].isin(highlight)]["label"].unique()
    ax = ax if ax is not None else _axes(chosen)
    for name, curve in table.groupby("layer", sort=False):
        style = _style(stages.index(curve["panel"].iloc[0]), name in highlight, bool(len(chosen)))
        ax.plot(curve["share"], curve["norm"], label=curve["label"].iloc[0], **style)
    _finish(ax, stages, bool(len(chosen)), alone)
    if alone:
        ax.get_figure(root=True).draw_without_rendering()  # type: ignore[union-attr]
    _name(ax, table[table["layer"].isin(highlight)], stages)
    return ax


def _axes(named: Collection[str]) -> Axes:
    labels = max((len(text) for text in named), default=0) * FONT * 0.6 / 72
    height = max(3.6, 0.8 + len(named) * 1.4 * FONT / 72)
    return plt.subplots(figsize=(5.4 + labels, height), layout="constrained")[1]


def _style(stage: int, highlighted: bool, others_fade: bool) -> dict[str, Any]:
    if highlighted:
        return {**stage_style(stage), "lw": 2.4, "zorder": 4}
    return {**stage_style(stage), "lw": 0.9, "alpha": 0.5 if others_fade else 0.9, "zorder": 2}


def _finish(ax: Axes, stages: list[str], emphasis: bool, alone: bool) -> None:
    handles = [
        Line2D([], [], lw=1.4, label=name, **stage_style(i)) for i, name in enumerate(stages)
    ]
    if emphasis:
        handles.append(Line2D([], [], color=PALE, lw=2.4, label="sensitive layer"))
    legend_below(ax, handles, alone)
    ax.set(xlim=(0, 100), ylim=(0, 1.02))
    ax.set_xlabel("filter index / number of filters (%)", fontsize=FONT + 1)
    ax.set_ylabel("l1 norm / largest of the layer", fontsize=FONT + 1)
    ax.tick_params(labelsize=FONT)
    sns.despine(ax=ax)


def _name(ax: Axes, chosen: pd.DataFrame, stages: list[str]) -> None:
    last = chosen.drop_duplicates("layer", keep="last")
    columns = last["share"], last["norm"], last["label"], last["panel"]
    label_ends(
        ax,
        [
            End(x, y, text, stage_style(stages.index(panel))["color"])
            for x, y, text, panel in zip(*columns, strict=True)
        ],
    )
