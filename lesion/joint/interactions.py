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

from lesion.errors import LesionError
from lesion.joint.bench import Bench
from lesion.lesions.lesion import Joint
from lesion.rates.allocation import Allocation
from lesion.results.drops import proportion
from lesion.study.study import Study
from lesion.subject.outcomes import Intact

Pair = tuple[str, str]
Drops = dict[tuple[str, ...], np.ndarray]
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
        square = pd.DataFrame(np.nan, index=names, columns=names)
        pairs = self.table[["first", "second", "interaction"]].itertuples(index=False)
        for first, second, value in pairs:
            square.loc[first, second] = square.loc[second, first] = value
        return square


def interactions(
    study: Study,
    bench: Bench,
    allocation: Allocation,
    *,
    pairs: int = 50,
    images: int = 2000,
    confidence: float = 95,
    column: str | None = None,
) -> Interactions:
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
    cuts = _Cuts(bench, _gone(study, allocation), column or allocation.column)
    wanted = list(combinations(units, 2))
    order = study.header.order
    screened, start = 0, 0
    if len(wanted) > pairs:
        screened, start = len(wanted), min(LOOK, len(order) // 2)
        strength = cuts.strength(wanted, order[:start])
        wanted = sorted(wanted, key=lambda pair: -strength[pair])[:pairs]
    drops = cuts.drops(wanted, order[start : start + images])
    return Interactions(_table(wanted, drops, confidence), screened, cuts.column, confidence)


def _gone(study: Study, allocation: Allocation) -> dict[str, np.ndarray]:
    """For each unit that is cut the labels that fall."""
    allocation.check_filters("interactions of units")
    whole, anatomy = allocation.dropped(study.anatomy), study.anatomy
    fallen = {}
    for rate in allocation.cut:
        unit, labels = anatomy.unit[rate.unit], np.zeros(anatomy.channels, bool)
        inside = slice(unit.first, unit.first + unit.channels)
        labels[inside] = whole[inside]
        fallen[rate.unit] = labels
    return fallen


@dataclass(frozen=True, eq=False)
class _Cuts:
    """Units that can be cut: for each the labels that fall; column: of outcomes, the score."""

    bench: Bench
    gone: Mapping[str, np.ndarray]
    column: str

    def drops(self, pairs: Sequence[Pair], images: Sequence[int]) -> Drops:
        """For each pair, and each unit of one, what each image loses, in points."""
        units = dict.fromkeys(unit for pair in pairs for unit in pair)
        sets: list[tuple[str, ...]] = [*((unit,) for unit in units), *pairs]
        cuts = {Joint(cut): np.logical_or.reduce([self.gone[unit] for unit in cut]) for cut in sets}
        intact: Intact = self.bench.intact(images)
        outcomes = self.bench.outcomes(cuts, images, intact)
        base = intact.outcomes[self.column].astype(float)
        return {
            joint.units: 100 * (base - part[self.column].astype(float))
            for joint, part in outcomes.items()
        }

    def strength(self, pairs: Sequence[Pair], images: Sequence[int]) -> dict[Pair, float]:
        """Of each pair how much its interaction is, whichever the sign."""
        drops = self.drops(pairs, images)
        return {pair: abs(_interaction(drops, pair).mean()) for pair in pairs}


def _interaction(drops: Drops, pair: Pair) -> np.ndarray:
    """Every image's part of a pair's interaction."""
    first, second = pair
    return drops[pair] - drops[(first,)] - drops[(second,)]


def _table(pairs: Sequence[Pair], drops: Drops, confidence: float) -> pd.DataFrame:
    wide = float(norm.ppf(0.5 + confidence / 200))
    rows = []
    for pair in pairs:
        each = _interaction(drops, pair)
        half = wide * float(each.std(ddof=1)) / np.sqrt(len(each))
        rows.append(
            {
                "first": pair[0],
                "second": pair[1],
                "interaction": each.mean(),
                "low": each.mean() - half,
                "high": each.mean() + half,
                "together": drops[pair].mean(),
                "first_drop": drops[pair[:1]].mean(),
                "second_drop": drops[pair[1:]].mean(),
                "images": len(each),
            }
        )
    frame = pd.DataFrame(rows)
    strongest = frame["interaction"].abs().sort_values(ascending=False).index
    return frame.loc[strongest].reset_index(drop=True)
