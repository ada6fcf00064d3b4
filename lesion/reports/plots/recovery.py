"""One-shot curves beside those after recovery: which layers stay sensitive once they may learn."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from lesion.errors import EvidenceError
from lesion.reports.plots.rows import amounts_of, damage_of, of_damage, of_recovery, one_criterion
from lesion.reports.plots.sensitivity import Drawing, by_panel, grid, sensitivity_table
from lesion.results.advice import Advice
from lesion.results.curves import curves as curves_of
from lesion.study.study import Study

KEYS = ["panel", "label"]


def recovery_table(
    curves: pd.DataFrame,
    recovery: str,
    advice: Advice | None = None,
    column: str = "accuracy",
    criterion: str | None = None,
    damage: str | None = None,
) -> pd.DataFrame:
    """The points of both curves of each layer that was measured one-shot and recovered.

    Columns: recovery ("" for one-shot), and those of
    `lesion.reports.plots.sensitivity.sensitivity_table`; marked on both sides is what stands out on
    one of them. Raises EvidenceError where no layer was measured both ways.
    """
    damage = damage_of(curves, damage, advice)
    rows = of_damage(curves, damage)
    sides = {
        way: sensitivity_table(of_recovery(rows, way), advice, column, criterion, damage)
        for way in ("", recovery)
    }
    table = pd.concat([side.assign(recovery=way) for way, side in sides.items()])
    both = table.groupby(KEYS)["recovery"].transform("nunique") == 2
    if not both.any():
        raise EvidenceError(
            f"Expected a layer that was measured one-shot and with recovery by {recovery}, got "
            "none: sweep the same layers both ways."
        )
    table = table[both].reset_index(drop=True)
    return table.assign(marked=table.groupby(KEYS)["marked"].transform("any"))


def plot_recovery(
    study: Study | pd.DataFrame,
    after: str,
    advice: Advice | None = None,
    column: str = "accuracy",
    criterion: str | None = None,
    damage: str | None = None,
) -> list[Axes]:
    """Draw two panels a stage: accuracy (or drop) one-shot, and after recovery.

    study: a study, or its curves; after: the recovery, such as "bn"; the rest as for
        `lesion.plot_sensitivity`, whose lines these are
    All panels have the same axes, and a layer looks the same in each.  After Li et al. 2017 (arXiv
    1608.08710), figures 2b and 2c.
    """
    curves = study if isinstance(study, pd.DataFrame) else curves_of(study)
    criterion = criterion or (advice.criterion if advice is not None else None)
    damage = damage_of(curves, damage, advice)
    table = recovery_table(curves, after, advice, column, criterion, damage)
    panels = [
        (f"{name}, {f'after {way}' if way else 'one-shot'}", part[part["recovery"] == way])
        for name, part in by_panel(table)
        for way in ("", after)
    ]
    axes = grid(panels, columns=2)
    rows = one_criterion(of_recovery(of_damage(curves, damage), ""), criterion, damage)
    Drawing(rows, column, amounts_of(curves, damage), advice).draw(axes, panels)
    return axes
