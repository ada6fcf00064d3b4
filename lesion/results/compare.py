"""How recovery changes the ranking of layers: drops one-shot beside drops after recovery."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lesion.errors import EvidenceError
from lesion.results.curves import table
from lesion.results.held import default
from lesion.results.reading import CRITERION, DAMAGE, Reading
from lesion.study.study import Study
from lesion.words import signed

LAYER = ["layer", "kind"]
DROPS = ["one_shot", "recovered"]
CONFIDENCE = 95  # of intervals, which are not looked at
DIGITS = 9  # equal drops are equal, however they were summed


@dataclass(frozen=True)
class Comparison:
    """Drops of the same lesions, one-shot and recovered, in percentage points.

    cells: a row a layer and amount of damage: layer, kind, amount, one_shot, recovered, and the
        ranks of both among the layers at that amount, 1 for the largest drop, the mean rank where
        drops are equal
    layers: a row a layer: layer, kind, one_shot, recovered (means over `amounts`), and their ranks
    amounts: those at which every layer was measured; recovery: its name; damage: what kind
    correlation: Spearman's rank correlation over the layers of the mean drops; NaN where there are
        fewer than two layers, or all drops of a side are equal
    """

    recovery: str
    cells: pd.DataFrame
    layers: pd.DataFrame
    amounts: tuple[float, ...]
    correlation: float
    damage: str = DAMAGE

    @property
    def n(self) -> int:
        """How many layers are ranked."""
        return len(self.layers)

    def text(self) -> str:
        """The correlation in a sentence."""
        known = "is not defined" if np.isnan(self.correlation) else signed(self.correlation, 2)
        kind = "ratios" if self.damage == DAMAGE else f"{self.damage}"
        amounts = ", ".join(f"{amount:g}" for amount in self.amounts)
        return (
            f"Spearman's rank correlation of the mean drops one-shot and after {self.recovery}: "
            f"{known} ({self.n} layers, {kind} {amounts})"
        )


def compare(
    study: Study,
    after: str,
    ratio: float | None = None,
    criterion: str | None = None,
    column: str | None = None,
    damage: str | None = None,
) -> Comparison:
    """How drops after a recovery, such as "bn", rank the layers beside one-shot drops.

    Only lesions count that were measured both ways on all images that the intact network has seen.
    Seeds are averaged, of several roundings the first is taken.

    ratio: compare at this ratio (of other damage than filters, amount) alone, None at all that
        every layer was measured at
    criterion: None means "l1" where it was measured both ways, else the first that was; damage: the
        same with "filters"
    column: the score to judge, None for the study's own

    Raises EvidenceError where there is nothing to compare.
    """
    both = _both(_measured(study, after, column), after)
    both, damage = _chosen(both, "damage", damage, DAMAGE)
    both, _ = _chosen(both, "criterion", criterion, CRITERION)
    if ratio is not None:
        both = both[np.isclose(both["amount"], ratio)]
    layers = both.groupby(LAYER).ngroups
    counts = both.groupby("amount", sort=False).size()
    shared = counts[counts == layers].index.tolist()
    if not shared:
        at = "" if ratio is None else f" at the ratio {ratio:g}"
        raise EvidenceError(
            f"Expected layers of {study.path} that were measured{at} on all images both one-shot "
            f"and with recovery by {after}, got none: sweep them with --full both ways."
        )
    chosen = both[both["amount"].isin(shared)]
    means = chosen.groupby(LAYER, sort=False)[DROPS].mean().round(DIGITS).reset_index()
    return Comparison(
        after,
        _ranked(both, both["amount"]),
        _ranked(means, means["kind"] == ""),
        tuple(study.damages[damage].sort(shared)),
        _spearman(means),
        damage,
    )


def _measured(study: Study, recovery: str, column: str | None) -> pd.DataFrame:
    """The rows of lesions that have seen every image, of one rounding."""
    readings = Reading.each(study, column, CONFIDENCE)
    rows = table(study, [each for each in readings if each.recovery in ("", recovery)])
    rows = rows[rows["drop"].notna() & (rows["images"] == study.images)]
    return rows[rows["rounding"] == rows["rounding"].iloc[0]] if len(rows) else rows


def _both(rows: pd.DataFrame, recovery: str) -> pd.DataFrame:
    """Damage, criterion, layer, kind, amount and both drops, where there are both."""
    sides = {
        side: rows[rows["recovery"] == way]
        .groupby(["damage", "criterion", *LAYER, "amount"], sort=False)["drop"]
        .mean()
        for side, way in zip(DROPS, ("", recovery), strict=True)
    }
    return pd.concat(sides, axis=1, join="inner").round(DIGITS).reset_index()


def _chosen(
    both: pd.DataFrame, name: str, asked: str | None, usual: str
) -> tuple[pd.DataFrame, str]:
    """The rows of what is asked in a column, which goes, and what that is."""
    held = list(dict.fromkeys(both[name]))
    chosen = asked if asked is not None else default(held, usual) if held else usual
    return both[both[name] == chosen].drop(columns=name), chosen


def _ranked(frame: pd.DataFrame, among: "pd.Series[Any]") -> pd.DataFrame:
    """With the ranks of both drops among the rows that are equal in `among`."""
    ranks = frame.groupby(among)[DROPS].rank(ascending=False).add_suffix("_rank")
    return frame.join(ranks).reset_index(drop=True)


def _spearman(means: pd.DataFrame) -> float:
    if len(means) < 2 or (means[DROPS].nunique() == 1).any():
        return float("nan")
    from scipy.stats import spearmanr  # here, because importing it takes a second

    return float(spearmanr(means["one_shot"], means["recovered"]).statistic)
