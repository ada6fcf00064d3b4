"""The trade-off: what accuracy is left for the multiply-accumulates that remain, way by way."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lesion.errors import EvidenceError, LesionError
from lesion.reports.plots.frames import check_columns
from lesion.reports.plots.style import FONT, INK, legend_below, line_style

OWN, INTACT = "lesion", "intact"
COLUMNS = ("way", "macs", "accuracy", "low", "high", "tuned")
TABLE = ("way", "tuned", "share", "accuracy", "low", "high")
DASHED = (0, (4, 1.5))
NAMES = {OWN: "lesion (recommended)"}


def tradeoff_table(frame: pd.DataFrame) -> pd.DataFrame:
    """The points of the lines: one row a network that was measured.

    frame: columns way ("lesion", and its baselines), macs (the share that remains, 1 for the intact
    network), accuracy, low and high (in %, the ends may be NaN), tuned (after a finetune).
    Columns: way ("intact" where all MACs remain), tuned, share (% of the MACs), accuracy, low,
    high; the intact network first, then "lesion", then the others in the order they came in, each
    by rising share.
    Raises LesionError where a column is missing, macs are no shares, or intact networks differ, and
    EvidenceError where nothing is cut.
    """
    _check(frame)
    whole = frame["macs"] == 1
    ways = [INTACT, OWN, *dict.fromkeys(frame["way"][~whole])]
    table = frame.assign(
        way=frame["way"].mask(whole, INTACT),
        share=100 * frame["macs"],
        tuned=frame["tuned"].astype(bool),
    )
    table = table[~(whole & table.duplicated(["way", "tuned"]))]
    place = table["way"].map(ways.index)
    table = table.assign(place=place).sort_values(["place", "tuned", "share"], kind="stable")
    return table[[*TABLE]].reset_index(drop=True)


def _check(frame: pd.DataFrame) -> None:
    check_columns(frame, COLUMNS)
    wrong = frame["macs"][~frame["macs"].between(0, 1)]
    if len(wrong):
        raise LesionError(
            f"Expected macs as shares from 0 to 1, got {wrong.iloc[0]:g}; divide them by the "
            "intact network's."
        )
    if not (frame["macs"] < 1).any():
        raise EvidenceError("Expected at least one network with fewer MACs, got none; measure one.")
    for _, scores in frame[frame["macs"] == 1].groupby("tuned")["accuracy"]:
        if scores.nunique() > 1:
            raise LesionError(
                f"Expected one intact network, got accuracies of {scores.min():g} and "
                f"{scores.max():g} with all MACs; draw one network at a time."
            )


def plot_tradeoff(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw accuracy against the share of MACs that remains, one line a way of choosing rates.

    frame: as for `tradeoff_table`. One-shot is solid with filled markers, tuned dashed with hollow
    ones. What "lesion" recommends has its intervals as a band, the baselines theirs as whiskers.
    The intact network is a horizontal line.
    """
    table = tradeoff_table(frame)
    alone = ax is None
    ax = ax if ax is not None else plt.subplots(figsize=(5.4, 4.2), layout="constrained")[1]
    lines = table[table["way"] != INTACT]
    ways = list(dict.fromkeys([OWN, *lines["way"]]))
    for (way, tuned), part in lines.groupby(["way", "tuned"], sort=False):
        _draw(ax, part, str(way), ways.index(str(way)), bool(tuned))
    for tuned, score in table.loc[table["way"] == INTACT, ["tuned", "accuracy"]].to_numpy():
        ax.axhline(score, color=INK, lw=0.8, ls=DASHED if tuned else "-", zorder=1)
    _finish(ax, table)
    legend_below(ax, _handles(table, ways), alone)
    return ax


def _style(place: int, tuned: bool) -> dict[str, Any]:
    style = {**line_style(place), "ms": 5.5, "lw": 1.4 if place else 2.0}
    if tuned:
        return {**style, "ls": DASHED, "mfc": "white", "mec": style["color"], "mew": 1.2}
    return {**style, "ls": "-", "mec": "white", "mew": 0.5}


def _draw(ax: Axes, part: pd.DataFrame, way: str, place: int, tuned: bool) -> None:
    style, order = _style(place, tuned), 3 if place else 4
    ax.plot(part["share"], part["accuracy"], label=way, zorder=order, **style)
    known = part.dropna(subset=["low", "high"])
    ends = known["share"], known["low"], known["high"]
    if way == OWN:
        ax.fill_between(*ends, color=style["color"], lw=0, alpha=0.2, zorder=2)
    if way != OWN or len(known) == 1:  # a band through one point would not be seen
        ax.vlines(*ends, color=style["color"], lw=1.0, zorder=2)


def _finish(ax: Axes, table: pd.DataFrame) -> None:
    ax.set_xlim(max(0.0, table["share"].min() - 5), 102)
    ax.set_xlabel("MACs that remain (%)", fontsize=FONT + 1)
    ax.set_ylabel("top-1 accuracy (%)", fontsize=FONT + 1)
    ax.tick_params(labelsize=FONT)
    ax.grid(axis="y", color="0.92", lw=0.6)
    ax.set_axisbelow(True)
    sns.despine(ax=ax)


def _handles(table: pd.DataFrame, ways: list[str]) -> list[Any]:
    lines, intact = table[table["way"] != INTACT], table[table["way"] == INTACT]
    handles: list[Any] = [
        Line2D([], [], label=NAMES.get(way, way), **_style(i, False))
        for i, way in enumerate(ways)
        if way in set(lines["way"])
    ]
    looks = {False: ("one-shot", "-"), True: ("after a finetune", DASHED)}
    for tuned in np.unique(lines["tuned"]):
        name, dashes = looks[bool(tuned)]
        face = "white" if tuned else INK
        handles.append(
            Line2D([], [], color=INK, lw=1.4, ls=dashes, marker="o", ms=5, mfc=face, label=name)
        )
    if len(intact):
        handles.append(Line2D([], [], color=INK, lw=0.8, label="intact network"))
    if lines["low"].notna().any():
        colour = line_style(0)["color"]
        handles.append(Patch(color=colour, alpha=0.3, lw=0, label="interval"))
    return handles
