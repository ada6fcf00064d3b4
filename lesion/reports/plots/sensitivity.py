"""Sensitivity curves: what is left of the accuracy as one layer is damaged more and more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lesion.errors import LesionError
from lesion.lesions.amounts import FILTERS, Amounts
from lesion.reports.plots.rows import amounts_of, damage_of, in_order, one_criterion, score_name
from lesion.reports.plots.style import (
    FONT,
    INK,
    PALE,
    End,
    label_ends,
    legend_below,
    line_style,
    number,
    points,
    scale_amounts,
    ticks_within,
)
from lesion.results.advice import Advice
from lesion.results.reading import DAMAGE

BRANCH = (0, (4, 1.5))
FEW = 5  # as many lines need no choice: all are named
TABLE = ("panel", "label", "layer", "kind", "amount", "value", "low", "high", "interval", "marked")
MARKED = {"lw": 2.0, "ms": 4.5, "zorder": 4, "mec": "white", "mew": 0.5}
Panel = tuple[str, pd.DataFrame]
AXIS = {"accuracy": "{} (%)", "drop": "drop in {} (points)"}


def sensitivity_table(
    curves: pd.DataFrame,
    advice: Advice | None = None,
    column: str = "accuracy",
    criterion: str | None = None,
    damage: str | None = None,
) -> pd.DataFrame:
    """The points of the curves: one row a measured lesion, and one more for each target left intact
    of filters and of what is done or not.

    Columns: panel, label, layer, kind, amount (as it is shown: % of the filters gone, pruned /
    channels; of other damage in its own unit), value, low and high (of `column`, "accuracy" in % or
    "drop" in points), interval ("fixed" or "anytime", see `lesion.curves`), marked (what to
    emphasise: the layers that the advice skips; without advice the one with the largest mean drop a
    panel).
    """
    if column not in AXIS:
        raise LesionError(f'Expected column "accuracy" or "drop", got {column!r}; choose one.')
    damage = damage_of(curves, damage, advice)
    rows = one_criterion(curves, criterion, damage)
    rows = rows[rows["drop"].notna()]
    if damage == DAMAGE or amounts_of(curves, damage).only:
        rows = pd.concat([_intact(rows), rows]).sort_index(kind="stable")
    amount = rows["amount"].map(amounts_of(curves, damage).shown)
    if damage == DAMAGE:
        amount = 100 * rows["pruned"].astype(float) / rows["channels"].astype(float)
    sign, start = (-1, rows["baseline"]) if column == "accuracy" else (1, 0)
    ends = np.sort([start + sign * rows["low"], start + sign * rows["high"]], axis=0)
    return rows.assign(
        amount=amount,
        value=rows[column],
        low=ends[0],
        high=ends[1],
        marked=_marked(rows, advice),
    )[[*TABLE]].reset_index(drop=True)


def _intact(rows: pd.DataFrame) -> pd.DataFrame:
    """Every curve starts where nothing is pruned: the drop is 0, exactly."""
    first = rows.drop_duplicates("label")
    return first.assign(
        amount=0.0, pruned=0, drop=0.0, low=0.0, high=0.0, accuracy=first["baseline"]
    )


def _marked(rows: pd.DataFrame, advice: Advice | None) -> pd.Series[bool]:
    if advice is not None and advice.skip:
        return rows["layer"].isin(advice.skip) & (rows["kind"] != "coupled")
    mean = rows.groupby(["panel", "label"], sort=False)["drop"].mean()
    steepest = {name for _, name in mean.groupby(level=0).idxmax()}
    return rows["label"].isin(steepest)


def plot_sensitivity(
    curves: pd.DataFrame,
    advice: Advice | None = None,
    column: str = "accuracy",
    criterion: str | None = None,
    ax: Axes | None = None,
    damage: str | None = None,
) -> list[Axes]:
    """Draw accuracy (or drop) against the share of filters gone, one panel a stage.

    Sensitive layers are thick, coloured and named at their ends, the others thin and grey; shading
    is the interval of each drop. The axis of `column="drop"` is linear up to the tolerance and
    logarithmic beyond it. Layers without a stage share the last panel. With `ax` all share that.
    damage: another than filters is drawn against its amount, harm rising to the right
    After Li et al. 2017 (arXiv 1608.08710), figure 2b.
    """
    criterion = criterion or (advice.criterion if advice is not None else None)
    damage = damage_of(curves, damage, advice)
    table = sensitivity_table(curves, advice, column, criterion, damage)
    rows = one_criterion(curves, criterion, damage)
    parts = [("", table)] if ax is not None else by_panel(table)
    panels = [(_title(name, rows), part) for name, part in parts]
    axes = [ax] if ax is not None else grid(panels)
    drawing = Drawing(rows, column, amounts_of(curves, damage), advice)
    drawing.draw(axes, panels, alone=ax is None)
    return axes


def by_panel(table: pd.DataFrame) -> list[Panel]:
    """Each stage's name with its part of the table, in order."""
    return [(name, table[table["panel"] == name]) for name in in_order(table["panel"])]


def _named(part: pd.DataFrame) -> pd.DataFrame:
    """The lines of a panel that get a label: the emphasised ones, or all if they are few."""
    return part if part["label"].nunique() <= FEW else part[part["marked"]]


def grid(panels: Sequence[Panel], columns: int = 0) -> list[Axes]:
    """Equal panels, wide enough for the longest label and high enough for the most labels."""
    marked = [_named(part)["label"].unique() for _, part in panels]
    longest = max((len(text) for texts in marked for text in texts), default=0)
    columns = columns or {1: 1, 2: 2, 4: 2}.get(len(panels), 3)
    width = 2.7 + longest * FONT * 0.6 / 72
    height = max(2.7, 0.6 + max(len(texts) for texts in marked) * 1.4 * FONT / 72)
    shape = math.ceil(len(panels) / columns), columns
    _, axes = plt.subplots(
        *shape,
        figsize=(0.5 + width * columns, 0.5 + height * shape[0]),
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    for spare in axes.flat[len(panels) :]:
        spare.remove()
    for ax in axes.flat[max(0, len(panels) - columns) : len(panels)]:
        ax.tick_params(labelbottom=True)
    return list(axes.flat[: len(panels)])


def _title(name: str, rows: pd.DataFrame) -> str:
    """The panel's name, and how many of its layers have no numbers at all."""
    part = rows if not name else rows[rows["panel"] == name]
    numbers = part.groupby("label")["drop"].count()
    missing = int((numbers == 0).sum())
    return f"{name}  ({missing} not measured)".strip() if missing else name


@dataclass(frozen=True)
class Drawing:
    """What all panels of a figure share.

    rows: the curves that are drawn; column: "accuracy" or "drop"; amounts: how their damage reads
    """

    rows: pd.DataFrame
    column: str
    amounts: Amounts
    advice: Advice | None = None

    def draw(self, axes: Sequence[Axes], panels: Sequence[Panel], alone: bool = True) -> None:
        """Draw a title and a part of the table on each of the axes, which get the same limits.

        alone: whether the figure has no other axes
        """
        table = pd.concat([part for _, part in panels])
        for ax, (title, part) in zip(axes, panels, strict=True):
            self._draw_lines(ax, part)
            ax.set_title(title, loc="left", fontsize=FONT + 2)
            self._finish(ax, table)
        self._legend(axes[0], alone, table)
        _name_ends(axes, panels, alone)

    @property
    def prunes(self) -> bool:
        """Whether filters fall."""
        return self.amounts == FILTERS

    @property
    def starts(self) -> bool:
        """Whether each curve starts where nothing is done."""
        return self.prunes or bool(self.amounts.only)

    @property
    def tolerance(self) -> float | None:
        """How many points may be lost, where there is advice."""
        return None if self.advice is None else self.advice.max_drop

    def _draw_lines(self, ax: Axes, part: pd.DataFrame) -> None:
        count = 0
        for (_, kind, marked), curve in part.groupby(["label", "kind", "marked"], sort=False):
            style: dict[str, Any] = {"color": PALE, "lw": 0.9, "zorder": 2}
            if marked:
                style = {**line_style(count), **MARKED, "markevery": slice(int(self.starts), None)}
                count += 1
            x = curve["amount"]
            dashes = BRANCH if kind == "branch" else "-"
            ends = x, curve["low"], curve["high"]
            if not (curve["interval"] == "anytime").any():
                shade = {"lw": 0, "alpha": 0.22 if marked else 0.13, "zorder": style["zorder"] - 1}
                ax.fill_between(*ends, color=style["color"], **shade)
            elif marked:  # whoever stopped early has wide intervals at some ratios: no band
                ax.vlines(*ends, color=style["color"], lw=1.0, zorder=3)
            name = curve["label"].iloc[0]
            ax.plot(x, curve["value"], linestyle=dashes, label=name, **style)

    def _finish(self, ax: Axes, table: pd.DataFrame) -> None:
        intact = self._baseline
        ax.axhline(intact, color=INK, lw=0.8, zorder=3)
        if self.tolerance is not None:
            lost = intact - self.tolerance if self.column == "accuracy" else self.tolerance
            ax.axhline(lost, color=INK, lw=0.8, ls=(0, (2, 2)), zorder=3)
        self._scale(ax, table["amount"])
        if self.column == "drop":
            _bend(ax, table, self.tolerance or 1.0)
        ax.tick_params(labelsize=FONT)
        sns.despine(ax=ax)
        if ax.get_subplotspec() is None or ax.get_subplotspec().is_first_col():  # type: ignore[union-attr]
            ax.set_ylabel(AXIS[self.column].format(score_name(self.advice)), fontsize=FONT + 1)
        if ax.xaxis.get_tick_params()["labelbottom"]:
            how, unit = self.amounts, " (%)" if self.amounts.unit == "%" else ""
            within = "" if how.only else f" in this {how.target}"
            ax.set_xlabel(f"{how.title}{within}{unit}", fontsize=FONT + 1)

    @property
    def _baseline(self) -> float:
        """The height of the intact network."""
        longest = self.rows["images"].astype(float).to_numpy().argmax()
        return float(self.rows["baseline"].iloc[longest]) if self.column == "accuracy" else 0.0

    def _scale(self, ax: Axes, amounts: pd.Series[float]) -> None:
        """Harm rises to the right; filters start with none."""
        if self.prunes:
            ax.set_xlim(0, max(amounts.max(), 1) * 1.02)
        else:
            scale_amounts(ax, self.amounts, amounts.tolist())

    def _legend(self, ax: Axes, alone: bool, table: pd.DataFrame) -> None:
        skips = self.advice is not None and self.advice.skip
        what = self.amounts.target
        name = f"{what} to skip" if skips else f"steepest {what}"
        handles: list[Any] = [Line2D([], [], color=INK, lw=0.8, label="intact network")]
        if self.advice is not None:
            text = f"tolerance: {points(self.advice.max_drop)}"
            handles.append(Line2D([], [], color=INK, lw=0.8, ls=(0, (2, 2)), label=text))
        marked = bool(table["marked"].any())
        if marked:
            handles.append(Line2D([], [], lw=2.0, ms=4.5, label=name, **line_style(0)))
        others = f"other {what}" if marked else what
        handles.append(Line2D([], [], color=PALE, lw=0.9, label=others))
        if (table["kind"] == "branch").any():
            handles.append(Line2D([], [], color=PALE, lw=0.9, ls=BRANCH, label="branch"))
        level = "interval of the drop"
        if self.advice is not None:
            level = f"{self.advice.confidence:g} % interval"
        if (table["interval"] == "anytime").any():
            bar = {"color": line_style(0)["color"], "lw": 0, "marker": "|", "ms": 9}
            handles.append(Line2D([], [], label=level, **bar))
        else:
            handles.append(Patch(color=PALE, alpha=0.4, lw=0, label=level))
        legend_below(ax, handles, alone)


def _bend(ax: Axes, table: pd.DataFrame, tolerance: float) -> None:
    """Linear up to the tolerance, logarithmic beyond: both 0.3 and 80 points can be read."""
    ax.set_yscale("symlog", linthresh=tolerance, linscale=1.0)
    low = min(table["low"].min(), -0.1 * tolerance)
    high = max(table["high"].max(), 1.5 * tolerance)
    ax.set_ylim(low * 1.15, high * 1.15)
    ticks = ticks_within(low * 1.15, high * 1.15)
    ax.set_yticks(ticks, [number(tick) for tick in ticks])
    ax.minorticks_off()


def _name_ends(axes: Sequence[Axes], panels: Sequence[Panel], alone: bool) -> None:
    if alone:
        axes[0].get_figure(root=True).draw_without_rendering()  # type: ignore[union-attr]
    for ax, (_, part) in zip(axes, panels, strict=True):
        lines = {str(line.get_label()): line for line in ax.get_lines()}
        last = _named(part).drop_duplicates("label", keep="last")
        ends = zip(last["label"], last["amount"], last["value"], strict=True)
        label_ends(ax, [End(x, y, text, str(lines[text].get_color())) for text, x, y in ends])
