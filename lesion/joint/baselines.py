"""The rates that others would take at the same cost: uniform ones, and a global ranking of filters.

Both leave as it is what the allocation has no choice for, and cut as many multiply-accumulates.
Where weights change, each damage does it alone, by one amount for all layers that stores no more.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
import pandas as pd

from lesion.joint.bench import Bench
from lesion.lesions.lesion import Joint, Target
from lesion.lesions.ratios import falling
from lesion.network.anatomy import Anatomy, Unit
from lesion.network.cost import cost
from lesion.rates.allocate import described, taken
from lesion.rates.allocation import Allocation
from lesion.rates.candidates import Candidate, dropped
from lesion.rates.layer_options import measured_options, weight_readings, weights_of
from lesion.results.drops import paired
from lesion.results.reading import Reading

UNKNOWN = float("nan")
NONE = (UNKNOWN,) * 3
DROPS, WORSE = ("drop", "low", "high"), ("worse", "worse_low", "worse_high")


def uniform(reading: Reading, allocation: Allocation) -> Allocation:
    """The smallest common ratio of all units whose MACs are no more than the allocation's."""
    scores, most = _scores(reading, allocation), allocation.pruned.macs
    for ratio in common_ratios(scores):
        choice = _still(allocation) | {
            name: _candidate(reading.anatomy, reading.anatomy.unit[name], values, ratio)
            for name, values in scores.items()
        }
        if _macs(reading.anatomy, choice) <= most:
            break
    return described(reading, choice, f"one rate for all units, {100 * ratio:.1f} %")


def uniform_weights(reading: Reading, allocation: Allocation) -> Iterator[Allocation]:
    """Of each damage of weights the least amount for all its layers that stores no more bytes than
    the allocation, if there is one."""
    most = allocation.footprints[1].bits
    for damage in weight_readings(reading):
        ways = one_amount(damage)
        yield from islice((way for way in ways if way.footprints[1].bits <= most), 1)


def one_amount(reading: Reading) -> Iterator[Allocation]:
    """The same amount of a damage of weights for all its layers, the least harmful first."""
    options = list(measured_options(reading))
    for amount in reading.amounts.sort([option.asked for option in options]):
        choice = {
            weights_of(option.lesion.target): option
            for option in options
            if option.asked == amount and option.lesion
        }
        yield described(reading, choice, f"{reading.damage}, {reading.amounts.text(amount)}")


def relative(scores: np.ndarray) -> np.ndarray:
    """A unit's scores divided by their mean, as Torch-Pruning's global ranking does, since norms of
    layers of different width do not compare."""
    return scores / (scores.mean() or 1.0)


def lamp(squares: np.ndarray) -> np.ndarray:
    """Each square's share in the sum of those that are not smaller (Lee et al. 2021, "LAMP", there
    of single weights): what falls before it is gone by then.

    >>> lamp(np.array([1.0, 4.0, 9.0])).round(4).tolist()  # 1/14, 4/13, 1
    [0.0714, 0.3077, 1.0]
    """
    order = np.argsort(squares, kind="stable")
    left = np.cumsum(squares[order][::-1])[::-1]
    shares = np.empty_like(squares, float)
    shares[order] = squares[order] / np.where(left > 0, left, 1.0)
    return shares


def ranked(
    reading: Reading,
    allocation: Allocation,
    scale: Callable[[np.ndarray], np.ndarray] = relative,
) -> Allocation:
    """The lowest scores of all units fall until the MACs are no more than the allocation's.

    scale: makes a unit's scores such as compare with those of others; a unit keeps one channel at
        least
    """
    anatomy = reading.anatomy
    scores = {name: scale(values) for name, values in _scores(reading, allocation).items()}
    still = _still(allocation)
    cuts = np.unique(np.concatenate([[-np.inf], *scores.values()]))  # at the first none falls
    low, high = 0, len(cuts) - 1
    while low < high:  # the fewest that do
        middle = (low + high) // 2
        choice = still | _below(anatomy, scores, cuts[middle])
        if _macs(anatomy, choice) <= allocation.pruned.macs:
            high = middle
        else:
            low = middle + 1
    choice = still | _below(anatomy, scores, cuts[low])
    return described(reading, choice, f"a global ranking by {reading.criterion}")


def with_baselines(
    reading: Reading,
    bench: Bench,
    allocation: Allocation,
    images: Sequence[int],
    confidence: float = 95,
) -> pd.DataFrame:
    """The rates and their baselines, all measured together on the same images; one row each.

    reading: the lesions that the rates rest on, see `lesion.rates.allocate.reading_of`
    rates: "these", "uniform", "global ranking", or each damage of weights with its one amount
    macs, parameters: shares that remain; bytes, bops: the same, where weights change
    drop, low, high: against the intact network, in points; worse, worse_low, worse_high: how many
        points more a rival loses than these rates, paired image by image; NaN for these
    """
    ways = {"these": allocation}
    if allocation.weights:
        ways |= {f"all {way.goal}": way for way in uniform_weights(reading, allocation)}
    else:
        ways |= {
            "uniform": uniform(reading, allocation),
            "global ranking": ranked(reading, allocation),
        }
    cuts = {
        Joint(tuple(rate.unit for rate in way.cut), number): bench.edit(way)
        for number, way in enumerate(ways.values())
        if not way.idle
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
    for (name, way), score in zip(ways.items(), scores, strict=True):
        drop = 100 * np.array(paired(base, score, level))
        worse = 100 * np.array(paired(scores[0], score, level)) if way is not allocation else NONE
        rows.append(
            {"rates": name}
            | _left(way)
            | dict(zip(DROPS, drop, strict=True))
            | dict(zip(WORSE, worse, strict=True))
        )
    return pd.DataFrame(rows)


def _left(way: Allocation) -> dict[str, float]:
    """The shares of costs that remain."""
    shares = {
        "macs": way.pruned.macs / way.intact.macs,
        "parameters": way.pruned.parameters / way.intact.parameters,
    }
    if way.footprints:
        whole, left = way.footprints
        shares |= {name: getattr(left, name) / getattr(whole, name) for name in ("bytes", "bops")}
    return shares


def _still(allocation: Allocation) -> dict[str, Candidate]:
    """What units lose for which the allocation had no choice."""
    return {unit: choice for unit, choice in taken(allocation).items() if choice.reason}


def common_ratios(scores: Mapping[str, np.ndarray]) -> list[float]:
    """Nothing, and every ratio at which one unit more loses a channel, rising."""
    sizes = {1} | {len(values) for values in scores.values()}
    return sorted({number / size for size in sizes for number in range(size)})


def _scores(reading: Reading, allocation: Allocation) -> dict[str, np.ndarray]:
    """The scores of the units that the allocation could have cut."""
    able = {
        (rate.unit, rate.kind)
        for rate in allocation.rates
        if (rate.kind == "free" or rate.pruned) and not rate.reason
    }
    return {
        unit: values
        for (unit, kind, criterion, _), values in reading.study.all_scores().items()
        if (unit, kind) in able and criterion == reading.criterion
    }


def _candidate(anatomy: Anatomy, unit: Unit, scores: np.ndarray, ratio: float) -> Candidate:
    fallen = falling(anatomy, Target(unit.name, unit.kind), scores, ratio, "floor-kept")
    return Candidate(ratio, fallen, UNKNOWN, UNKNOWN)


def _below(anatomy: Anatomy, scores: Mapping[str, np.ndarray], cut: float) -> dict[str, Candidate]:
    """Each unit without as many channels as score below the cut."""
    return {
        name: _candidate(anatomy, anatomy.unit[name], values, float((values <= cut).mean()))
        for name, values in scores.items()
    }


def _macs(anatomy: Anatomy, choice: Mapping[str, Candidate]) -> int:
    return cost(anatomy, dropped(anatomy, choice)).macs
