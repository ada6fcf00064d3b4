"""Accuracy against cost: rates at several budgets and baselines, measured."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lesion.errors import EvidenceError, LesionError
from lesion.joint.baselines import with_baselines
from lesion.joint.bench import Bench
from lesion.joint.refine import improved
from lesion.rates.allocate import allocated
from lesion.rates.allocation import Allocation
from lesion.rates.budget import Budget
from lesion.results.reading import Reading
from lesion.study.study import Study

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
WAYS = {"these": "lesion", "uniform": "uniform", "global ranking": "global l1"}


def tradeoff(
    study: Study,
    bench: Bench,
    shares: Sequence[float] = SHARES,
    *,
    rounds: int = 6,
    recovered: Bench | None = None,
) -> pd.DataFrame:
    """Accuracy by the share of MACs that remains, on the images that the study kept back.

    shares: budgets; those out of reach are left out; rounds: of refining the rates by measuring on
        the study's own images, 0 for those by the curves alone
    recovered: the same networks with a recovery, to be measured after it as well, with rates that
        are best after it (see `lesion.joint.level`)
    One row a budget and way, and one for the intact network (macs 1): way ("lesion", "uniform",
    "global l1"), macs (the share), accuracy, low and high in per cent, tuned (after recovery).
    Raises LesionError where no budget is in reach.
    """
    reading = Reading.of(study)
    if not study.header.holdout:
        raise EvidenceError(
            f"Expected images kept back to measure rates on, but {study.path} has none: make the "
            "study with --holdout 0.2."
        )
    predicted = {share: rates for share in shares if (rates := _allocated(reading, share))}
    if not predicted:
        raise LesionError(
            f"Expected a share of the MACs within reach, but of {list(shares)} none is."
        )
    held = study.header.holdout
    baseline = 100 * float(np.mean(bench.intact(held).outcomes[reading.column]))
    parts = [pd.DataFrame([{"way": "lesion", "macs": 1.0, "drop": 0.0, "tuned": False}])]
    for tuned, where in enumerate(filter(None, (bench, recovered))):
        for share, rates in predicted.items():
            better = _better(reading, where, rates, Budget(macs=share), rounds)
            rows = with_baselines(reading, where, better, held)
            parts.append(rows.assign(way=rows["rates"].map(WAYS), tuned=bool(tuned)))
    table = pd.concat(parts, ignore_index=True)
    return pd.DataFrame(
        {
            "way": table["way"],
            "macs": table["macs"],
            "accuracy": baseline - table["drop"],
            "low": baseline - table["high"],
            "high": baseline - table["low"],
            "tuned": table["tuned"].astype(bool),
        }
    )


def _allocated(reading: Reading, share: float) -> Allocation | None:
    try:
        return allocated(reading, Budget(macs=share))
    except LesionError:  # out of reach
        return None


def _better(
    reading: Reading, bench: Bench, rates: Allocation, budget: Budget, rounds: int
) -> Allocation:
    """The rates after they were measured."""
    return improved(reading, bench, rates, budget, rounds=rounds) if rounds else rates
