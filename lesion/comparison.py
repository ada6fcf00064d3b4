"""How recovery changes the ranking of layers: drops one-shot beside drops after recovery."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lesion.curves import curves
from lesion.errors import EvidenceError
from lesion.study import Study
from lesion.wording import signed

LAYER = ["layer", "kind"]
DROPS = ["one_shot", "recovered"]
DIGITS = 9  # equal drops are equal, however they were summed


@dataclass(frozen=True)
class Comparison:
    """Drops of the same lesions, one-shot and recovered, in percentage points.

    cells: a row a layer and ratio: layer, kind, ratio, one_shot, recovered, and the ranks of both
        among the layers at that ratio, 1 for the largest drop, the mean rank where drops are equal
    layers: a row a layer: layer, kind, one_shot, recovered (means over `ratios`), and their ranks
    ratios: those at which every layer was measured; recovery: its name
    correlation: Spearman's rank correlation over the layers of the mean drops; NaN where there are
        fewer than two layers, or all drops of a side are equal
    """

    recovery: str
    cells: pd.DataFrame
    layers: pd.DataFrame
    ratios: tuple[float, ...]
    correlation: float

    @property
    def n(self) -> int:
        """How many layers are ranked."""
        return len(self.layers)

    def text(self) -> str:
        """The correlation in a sentence."""
        found = "is not defined" if np.isnan(self.correlation) else signed(self.correlation, 2)
        return (
            f"Spearman's rank correlation of the mean drops one-shot and after {self.recovery}: "
            f"{found} ({self.n} layers, ratios {', '.join(f'{ratio:g}' for ratio in self.ratios)})"
        )


def compare(
    study: Study,
    recovery: str,
    ratio: float | None = None,
    criterion: str | None = None,
    column: str | None = None,
) -> Comparison:
    """How drops after a recovery, such as "bn", rank the layers beside one-shot drops.

    Only lesions count that were measured both ways on all images that the intact network has seen.
    Seeds are averaged, of several roundings the first is taken.

    ratio: compare at this ratio alone, None at all that every layer was measured at
    criterion: None means "l1" where it was measured both ways, else the first that was
    column: the score to judge, None for the study's own

    Raises EvidenceError where there is nothing to compare.
    """
    rows = _measured(study, column)
    both = _both(rows, recovery, criterion)
    if ratio is not None:
        both = both[np.isclose(both["ratio"], ratio)]
    layers = both.groupby(LAYER).ngroups
    counts = both.groupby("ratio").size()
    ratios = tuple(counts[counts == layers].index.tolist())
    if not ratios:
        at = "" if ratio is None else f" at the ratio {ratio:g}"
        raise EvidenceError(
            f"Expected layers of {study.path} that were measured{at} on all images both one-shot "
            f"and with recovery by {recovery}, got none: sweep them with --full both ways."
        )
    shared = both[both["ratio"].isin(ratios)]
    means = shared.groupby(LAYER, sort=False)[DROPS].mean().round(DIGITS).reset_index()
    return Comparison(
        recovery, _ranked(both, both["ratio"]), _ranked(means, means["kind"] == ""), ratios,
        _spearman(means),
    )  # fmt: skip


def _measured(study: Study, column: str | None) -> pd.DataFrame:
    """The rows of lesions that have seen every image, of one rounding."""
    rows = curves(study, column)
    rows = rows[rows["drop"].notna() & (rows["images"] == study.images)]
    return rows[rows["rounding"] == rows["rounding"].iloc[0]] if len(rows) else rows


def _both(rows: pd.DataFrame, recovery: str, criterion: str | None) -> pd.DataFrame:
    """Layer, kind, ratio and both drops, where there are both."""
    found = {
        side: rows[rows["recovery"] == way]
        .groupby(["criterion", *LAYER, "ratio"], sort=False)["drop"]
        .mean()
        for side, way in zip(DROPS, ("", recovery), strict=True)
    }
    both = pd.concat(found, axis=1, join="inner").round(DIGITS).reset_index()
    held = list(dict.fromkeys(both["criterion"]))
    if criterion is None and held:
        criterion = "l1" if "l1" in held else held[0]
    return both[both["criterion"] == criterion].drop(columns="criterion")


def _ranked(frame: pd.DataFrame, among: "pd.Series[Any]") -> pd.DataFrame:
    """With the ranks of both drops among the rows that are equal in `among`."""
    ranks = frame.groupby(among)[DROPS].rank(ascending=False).add_suffix("_rank")
    return frame.join(ranks).reset_index(drop=True)


def _spearman(means: pd.DataFrame) -> float:
    if len(means) < 2 or (means[DROPS].nunique() == 1).any():
        return float("nan")
    from scipy.stats import spearmanr  # here, because importing it takes a second

    return float(spearmanr(means["one_shot"], means["recovered"]).statistic)
