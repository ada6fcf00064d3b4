"""Pairs of cuts that hurt more, or less, together than one by one.

I(a, b) = drop(a, b) − drop(a) − drop(b), on the same images (Meyes et al. 2019).  0 means that the
cuts do not know of each other, more that each takes what the other relied on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import norm

from lesion.allocation import Allocation
from lesion.curves import proportion
from lesion.errors import LesionError
from lesion.outcomes import Intact
from lesion.plan import Joint
from lesion.study import Study
from lesion.together import Bench

LOOK = 256  # images on which all pairs are looked at before some are chosen


@dataclass(frozen=True)
class Interactions:
    """The pairs that were measured, strongest first.

    table: one row a pair: first, second, interaction with low and high, the drops of both and of
        each, all in points, and images, on how many
    screened: how many pairs were looked at to choose these; column: the score judged
    """

    table: pd.DataFrame
    screened: int
    column: str
    confidence: float

    def matrix(self) -> pd.DataFrame:
        """The interactions as a square table, NaN for pairs that were not measured."""
        names = list(dict.fromkeys([*self.table["first"], *self.table["second"]]))
        found = pd.DataFrame(np.nan, index=names, columns=names)
        for one, two, value in self.table[["first", "second", "interaction"]].itertuples(
            index=False
        ):
            found.loc[one, two] = found.loc[two, one] = value
        return found


def find_interactions(
    study: Study, bench: Bench, allocation: Allocation, *, pairs: int = 50, images: int = 2000,
    confidence: float = 95, column: str | None = None,
) -> Interactions:  # fmt: skip
    """The strongest interactions among the units that an allocation cuts, each to its rate.

    pairs: how many to measure well, on `images` of the study's order; where there are more, all
    are looked at on other images first, and those with the largest |I| are taken. So the interval
    of a pair does not know that it was chosen. Intervals are normal ones of the mean over images,
    each pair on its own.

    Raises LesionError for a confidence outside 50 to 100, and where fewer than two units are cut.
    """
    proportion(confidence)  # refused before all work
    units = [rate.unit for rate in allocation.cut]
    if len(units) < 2:
        raise LesionError(f"Expected rates that cut two units at least, got {len(units)}.")
    allocation.check(study.header.subject)
    gone = _gone(study, allocation)
    column = column or allocation.column
    wanted = list(combinations(units, 2))
    order = study.header.order
    screened, start = 0, 0
    if len(wanted) > pairs:
        screened, start = len(wanted), min(LOOK, len(order) // 2)
        found = _measured(bench, gone, wanted, order[:start], column)
        wanted = sorted(wanted, key=lambda pair: -abs(found[pair].mean()))[:pairs]
    used = order[start : start + images]
    table = _table(bench, gone, wanted, used, column, confidence)
    return Interactions(table, screened, column, confidence)


def _gone(study: Study, allocation: Allocation) -> dict[str, np.ndarray]:
    """For each unit that is cut the labels that fall."""
    whole, anatomy = allocation.dropped(study.anatomy), study.anatomy
    found = {}
    for rate in allocation.cut:
        unit, own = anatomy.unit[rate.unit], np.zeros(anatomy.channels, bool)
        inside = slice(unit.first, unit.first + unit.channels)
        own[inside] = whole[inside]
        found[rate.unit] = own
    return found


def _drops(
    bench: Bench, gone: Mapping[str, np.ndarray], pairs: Sequence[tuple[str, str]],
    images: Sequence[int], column: str,
) -> dict[tuple[str, ...], np.ndarray]:  # fmt: skip
    """For each pair, and each unit of one, what each image loses, in points."""
    units = dict.fromkeys(unit for pair in pairs for unit in pair)
    sets: list[tuple[str, ...]] = [*((unit,) for unit in units), *pairs]
    cuts = {Joint(own): np.logical_or.reduce([gone[unit] for unit in own]) for own in sets}
    intact: Intact = bench.intact(images)
    found = bench.outcomes(cuts, images, intact)
    base = intact.outcomes[column].astype(float)
    return {joint.units: 100 * (base - own[column].astype(float)) for joint, own in found.items()}


def _measured(
    bench: Bench, gone: Mapping[str, np.ndarray], pairs: Sequence[tuple[str, str]],
    images: Sequence[int], column: str,
) -> dict[tuple[str, str], np.ndarray]:  # fmt: skip
    """For each pair every image's part of the interaction."""
    drops = _drops(bench, gone, pairs, images, column)
    return {(a, b): drops[a, b] - drops[(a,)] - drops[(b,)] for a, b in pairs}


def _table(
    bench: Bench, gone: Mapping[str, np.ndarray], pairs: Sequence[tuple[str, str]],
    images: Sequence[int], column: str, confidence: float,
) -> pd.DataFrame:  # fmt: skip
    drops = _drops(bench, gone, pairs, images, column)
    wide = float(norm.ppf(0.5 + confidence / 200))
    rows = []
    for one, two in pairs:
        each = drops[one, two] - drops[(one,)] - drops[(two,)]
        half = wide * float(each.std(ddof=1)) / np.sqrt(len(each))
        rows.append({
            "first": one, "second": two, "interaction": each.mean(), "low": each.mean() - half,
            "high": each.mean() + half, "together": drops[one, two].mean(),
            "first_drop": drops[(one,)].mean(), "second_drop": drops[(two,)].mean(),
            "images": len(each),
        })  # fmt: skip
    frame = pd.DataFrame(rows)
    strongest = frame["interaction"].abs().sort_values(ascending=False).index
    return frame.loc[strongest].reset_index(drop=True)
