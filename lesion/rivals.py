"""The rates that others would take at the same cost: uniform ones, and a global ranking of filters.

Both leave as it is what the allocation has no choice for, and cut as many multiply-accumulates.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lesion.allocating import described, taken
from lesion.allocation import Allocation
from lesion.anatomy import Anatomy, Unit
from lesion.candidates import Candidate, dropped
from lesion.cost import cost
from lesion.curves import paired
from lesion.plan import Joint, Target, falling
from lesion.study import Study
from lesion.together import Bench

UNKNOWN = float("nan")
NONE = (UNKNOWN,) * 3
COLUMNS = [
    "rates", "macs", "parameters", "drop", "low", "high", "worse", "worse_low", "worse_high",
]  # fmt: skip


def uniform(study: Study, allocation: Allocation) -> Allocation:
    """The smallest common ratio of all units whose MACs are no more than the allocation's."""
    scores, most = _scores(study, allocation), allocation.pruned.macs
    for ratio in common_ratios(scores):
        choice = _still(allocation) | {
            name: _candidate(study.anatomy, study.anatomy.unit[name], own, ratio)
            for name, own in scores.items()
        }
        if _macs(study.anatomy, choice) <= most:
            break
    goal = f"one rate for all units, {100 * ratio:.1f} %"
    return described(
        study, choice, goal, allocation.criterion, allocation.column, allocation.baseline
    )


def ranked(study: Study, allocation: Allocation) -> Allocation:
    """The lowest scores of all units fall until the MACs are no more than the allocation's.

    Each unit's scores are divided by their mean, as Torch-Pruning's global ranking does, since
    norms of layers of different width do not compare; a unit keeps one channel at least.
    """
    anatomy, scores, still = study.anatomy, _scores(study, allocation), _still(allocation)
    relative = {name: own / (own.mean() or 1.0) for name, own in scores.items()}
    cuts = np.unique(np.concatenate([[-np.inf], *relative.values()]))  # at the first none falls
    low, high = 0, len(cuts) - 1
    while low < high:  # the fewest that do
        middle = (low + high) // 2
        choice = still | _below(anatomy, relative, cuts[middle])
        if _macs(anatomy, choice) <= allocation.pruned.macs:
            high = middle
        else:
            low = middle + 1
    choice = still | _below(anatomy, relative, cuts[low])
    return described(
        study, choice, f"a global ranking by {allocation.criterion}", allocation.criterion,
        allocation.column, allocation.baseline,
    )  # fmt: skip


def beside(
    study: Study, bench: Bench, allocation: Allocation, images: Sequence[int],
    confidence: float = 95,
) -> pd.DataFrame:  # fmt: skip
    """The rates and their rivals, all measured together on the same images; one row each.

    rates: "these", "uniform", "global ranking"; macs, parameters: shares that remain
    drop, low, high: against the intact network, in points; worse, worse_low, worse_high: how many
        points more a rival loses than these rates, paired image by image; NaN for these
    """
    ways = {
        "these": allocation, "uniform": uniform(study, allocation),
        "global ranking": ranked(study, allocation),
    }  # fmt: skip
    cuts = {
        Joint(tuple(rate.unit for rate in own.cut), number): own.dropped(study.anatomy)
        for number, own in enumerate(ways.values())
        if own.cut
    }
    intact = bench.intact(images)
    measured = {
        joint.number: outcomes for joint, outcomes in bench.outcomes(cuts, images, intact).items()
    }
    scores = [
        measured.get(number, intact.outcomes)[allocation.column] for number in range(len(ways))
    ]
    base, level = intact.outcomes[allocation.column], confidence / 100
    rows = []
    for (name, own), score in zip(ways.items(), scores, strict=True):
        drop = 100 * np.array(paired(base, score, level))
        worse = 100 * np.array(paired(scores[0], score, level)) if own is not allocation else NONE
        rows.append((
            name, own.pruned.macs / own.intact.macs,
            own.pruned.parameters / own.intact.parameters, *drop, *worse,
        ))  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def _still(allocation: Allocation) -> dict[str, Candidate]:
    """What units lose for which the allocation had no choice."""
    return {unit: one for unit, one in taken(allocation).items() if one.reason}


def common_ratios(scores: Mapping[str, np.ndarray]) -> list[float]:
    """Nothing, and every ratio at which one unit more loses a channel, rising."""
    sizes = {1} | {len(own) for own in scores.values()}
    return sorted({number / size for size in sizes for number in range(size)})


def _scores(study: Study, allocation: Allocation) -> dict[str, np.ndarray]:
    """The scores of the units that the allocation could have cut."""
    able = {
        (one.unit, one.kind) for one in allocation.rates
        if (one.kind == "free" or one.pruned) and not one.reason
    }  # fmt: skip
    return {
        unit: own for (unit, kind, criterion, _), own in study.all_scores().items()
        if (unit, kind) in able and criterion == allocation.criterion
    }  # fmt: skip


def _candidate(anatomy: Anatomy, unit: Unit, scores: np.ndarray, ratio: float) -> Candidate:
    fallen = falling(anatomy, Target(unit.name, unit.kind), scores, ratio, "floor-kept")
    return Candidate(ratio, fallen, UNKNOWN, UNKNOWN)


def _below(
    anatomy: Anatomy, relative: Mapping[str, np.ndarray], cut: float
) -> dict[str, Candidate]:
    """Each unit without as many channels as score below the cut."""
    return {
        name: _candidate(anatomy, anatomy.unit[name], own, float((own <= cut).mean()))
        for name, own in relative.items()
    }


def _macs(anatomy: Anatomy, choice: Mapping[str, Candidate]) -> int:
    return cost(anatomy, dropped(anatomy, choice)).macs
