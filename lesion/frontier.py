"""Accuracy against cost: rates at several budgets and their rivals, measured."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lesion.allocating import allocate
from lesion.allocation import Allocation
from lesion.budget import Budget
from lesion.errors import EvidenceError, LesionError
from lesion.levelling import level
from lesion.refining import refine
from lesion.rivals import beside
from lesion.study import Study
from lesion.together import Bench

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
WAYS = {"these": "lesion", "uniform": "uniform", "global ranking": "global l1"}


def frontier(
    study: Study, bench: Bench, shares: Sequence[float] = SHARES, *, rounds: int = 6,
    recovered: Bench | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Accuracy by the share of MACs that remains, on the images that the study kept back.

    shares: budgets; those out of reach are left out; rounds: of refining the rates by measuring on
        the study's own images, 0 for those by the curves alone
    recovered: the same networks with a recovery, to be measured after it as well, with rates that
        are best after it (see `lesion.levelling`)
    One row a budget and way, and one for the intact network (macs 1): way ("lesion", "uniform",
    "global l1"), macs (the share), accuracy, low and high in per cent, tuned (after recovery).
    Raises LesionError where no budget is in reach.
    """
    if not study.header.holdout:
        raise EvidenceError(
            f"Expected images kept back to measure rates on, but {study.path} has none: make the "
            "study with --holdout 0.2."
        )
    rates = {share: one for share in shares if (one := _allocated(study, share))}
    if not rates:
        raise LesionError(
            f"Expected a share of the MACs within reach, but of {list(shares)} none is."
        )
    held, column = study.header.holdout, next(iter(rates.values())).column
    baseline = 100 * float(np.mean(bench.intact(held).outcomes[column]))
    parts = [pd.DataFrame([{"way": "lesion", "macs": 1.0, "drop": 0.0, "tuned": False}])]
    for tuned, own in enumerate(filter(None, (bench, recovered))):
        for share, one in rates.items():
            better = _better(study, own, one, Budget(macs=share), rounds, bool(tuned))
            found = beside(study, own, better, held)
            parts.append(found.assign(way=found["rates"].map(WAYS), tuned=bool(tuned)))
    table = pd.concat(parts, ignore_index=True)
    return pd.DataFrame({
        "way": table["way"], "macs": table["macs"], "accuracy": baseline - table["drop"],
        "low": baseline - table["high"], "high": baseline - table["low"],
        "tuned": table["tuned"].astype(bool),
    })  # fmt: skip


def _allocated(study: Study, share: float) -> Allocation | None:
    try:
        return allocate(study, Budget(macs=share))
    except LesionError:  # out of reach
        return None


def _better(
    study: Study, bench: Bench, own: Allocation, budget: Budget, rounds: int, tuned: bool
) -> Allocation:
    """The rates after they were measured."""
    if not rounds:
        return own
    if tuned:
        return level(study, bench, own, budget)
    return refine(study, bench, own, budget, rounds=rounds)
