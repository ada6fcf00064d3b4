"""May a norm criterion be trusted? The two conditions of FPGM on a layer's filters."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from lesion.lesions.criteria import criterion
from lesion.lesions.scores import Scorer
from lesion.network.dissection import Dissection

SPREAD = 0.25  # at least: standard deviation of the norms by their mean
SMALLEST = 0.25  # at most: the smallest norm by the mean
COLUMNS = ["layer", "filters", "spread", "smallest", "verdict"]


def norm_conditions(dissection: Dissection, layers: Iterable[str]) -> pd.DataFrame:
    """One row a layer: what a criterion that takes small norms for unimportant rests on.

    spread: the standard deviation of the filters' l2 norms divided by their mean; it has to be
        large, or norms do not tell filters apart
    smallest: the smallest norm divided by the mean; it has to be near 0, or what is removed
        contributes
    verdict: see `verdict`

    He et al. 2019, "Filter Pruning via Geometric Median", section 3 and figure 2.  The conditions
    are theirs; that "large" is 0.25 and more, and "near 0" 0.25 and less, is said here: they name
    no numbers.
    """
    scorer = Scorer(dissection, criterion("l2"))
    rows = []
    for name in layers:
        norms = scorer.of_layer(dissection.anatomy.layer[name])
        spread, smallest = conditions(norms)
        rows.append((name, len(norms), spread, smallest, verdict(spread, smallest)))
    return pd.DataFrame(rows, columns=COLUMNS)


def conditions(norms: np.ndarray) -> tuple[float, float]:
    """Spread and smallest of some norms, by their mean; both 0 where all norms are.

    >>> conditions(np.array([1.0, 3.0]))
    (0.5, 0.5)
    """
    mean = float(norms.mean()) or 1.0
    return float(norms.std()) / mean, float(norms.min()) / mean


def verdict(spread: float, smallest: float) -> str:
    """Whether both conditions hold, and if not which fails.

    >>> verdict(0.5, 0.1), verdict(0.5, 0.5)
    ('yes', 'no: even the smallest norm is large')
    """
    failing = [
        *(["norms hardly differ"] if spread < SPREAD else []),
        *(["even the smallest norm is large"] if smallest > SMALLEST else []),
    ]
    return f"no: {', '.join(failing)}" if failing else "yes"
