"""From curves to rates that meet a budget together."""

from collections.abc import Mapping
from dataclasses import replace
from math import nan
from typing import TYPE_CHECKING

import numpy as np

from lesion.advice import Advice
from lesion.allocation import Allocation, UnitRate
from lesion.anatomy import Anatomy, Unit, keeps
from lesion.budget import Budget
from lesion.calibration import Calibration
from lesion.candidates import Candidate, Candidates, candidates, dropped
from lesion.cost import cost
from lesion.curves import column_of, curves
from lesion.errors import EvidenceError, LesionError
from lesion.judging import criterion_of
from lesion.knobs import Choice
from lesion.predicting import Basis, basis
from lesion.study import Study
from lesion.within import Within, accounts_of, stage_of
from lesion.wording import points

if TYPE_CHECKING:
    from lesion.latency import Times

MUCH = 30.0  # points
RUINED = (
    " So much is lost that accuracy before retraining says little about accuracy after it: "
    "`lesion refine --recover` finds rates for that."
)
UNPREDICTED = (
    "No joint drop is predicted: rates were chosen by single drops, and of a score that is no "
    "accuracy it is not known how these add up; {}."
)
MEASURED_BY = {
    False: "`lesion refine` and `lesion verify` measure the rates together",
    True: "evaluate the network that `lesion apply` writes",
}
HOW = {
    "margins": "each image's margin moves by the sum of what single cuts moved it",
    "drops": "single drops composed as accuracies multiply",
}


def allocate(
    study: Study,
    budget: Budget,
    *,
    times: "Times | None" = None,
    criterion: str | None = None,
    column: str | None = None,
    confidence: float = 95,
    recovery: str = "",
    by: str = "",
) -> Allocation:
    """The rates that lose least by prediction and meet the budget.

    Each unit takes one of the ratios that were measured. What the rates cost in
    multiply-accumulates and parameters is that of the physically smaller network: a layer between
    two units that shrink costs the product of what both keep.

    by: what the joint drop is predicted by. "margins": each image's margin moves by the sum of what
        the single lesions moved it; the rates are searched for (see `lesion.searching`), from the
        best by drops and from the intact network. "drops": accuracies multiply (see
        `lesion.composing`), at the upper ends of the drops' intervals at `confidence` per cent; the
        rates are the exact optimum. "" for margins where the study has them, see
        `lesion.predicting.basis`: where every lesion saw the same images and the score is top-1.
        Of a score that is no accuracy nothing is predicted: single drops are only compared
    recovery: "" for the lesions without one; by those that recovered in this way before they were
        scored, for networks that are to be retrained, the rates are predicted by drops
    times: the table that a budget of latency is reckoned by, see `lesion.latency`

    Raises LesionError where the budget is out of reach, with the nearest that can be reached, or
    bounds a drop that is not predicted, and EvidenceError where the study has no curves, or no
    margins, for what is asked.
    """
    budget.check()
    if times is None and "latency" in (*budget.shares, budget.smallest):
        raise LesionError(
            "Expected a table of times for a budget of latency, got none; `lesion time` makes one."
        )
    column = column_of(study, column)
    criterion = criterion_of(study, criterion, recovery)
    found = choices(study, budget, criterion, column, confidence, recovery)
    if not found:
        raise EvidenceError(
            f"Expected curves of units whose channels can be removed, but {study.path} has none: "
            "sweep more layers, or coupled units as well (--units all)."
        )
    known = basis(study, found, column, criterion, recovery, by)
    accounts = accounts_of(study.anatomy, found, times)
    most = budget.max_drop
    if most is not None and (learned := calibrated(study, known)):
        most = learned.allowed(most)
    choice = Within(study.anatomy, known, budget, accounts).best(most)
    goal = budget.words(known.composes)
    return timed(study, predicted(study, known, choice, goal, criterion, column), times)


def taken(allocation: Allocation) -> dict[str, Candidate]:
    """What each unit loses that loses channels, as the choice that it took."""
    found = {}
    for rate in allocation.cut:
        fallen = np.ones(rate.channels, bool)
        fallen[list(rate.kept)] = False
        found[rate.unit] = Candidate(
            rate.rate, fallen, rate.drop, rate.high, rate.measured, rate.reason
        )
    return found


def timed(study: Study, allocation: Allocation, times: "Times | None") -> Allocation:
    """With the time that it is predicted to take, where there is a table of times."""
    if times is None:
        return allocation
    single: Candidates = {unit: (one,) for unit, one in taken(allocation).items()}
    own = times.account(study.anatomy, single)
    pruned = own.at(dict.fromkeys(single, 0))
    return replace(allocation, milliseconds=(own.intact, pruned, times.spread))


def choices(
    study: Study, budget: Budget, criterion: str, column: str, confidence: float = 95,
    recovery: str = "",
) -> Candidates:  # fmt: skip
    """What each unit may lose within the budget's multiples, pins and skips; see `candidates`."""
    frame = curves(study, column, confidence)
    own = (frame["criterion"] == criterion) & (frame["recovery"] == recovery)
    return candidates(study, frame[own], budget)


def by_stage(study: Study, advice: Advice, recovery: str = "") -> Allocation:
    """The rates of an advice's stages, and of free layers outside them, as an allocation.

    recovery: that of the lesions that the advice judged
    """
    found = choices(
        study, Budget(per="layer"), advice.criterion, advice.column, advice.confidence, recovery
    )
    choice = dict.fromkeys(found, 0)
    for entry in advice.layers:
        if entry.kind == "free" and entry.layer in found:
            rate = entry.rate if entry.stage_rate is None else entry.stage_rate
            own = found[entry.layer]
            choice[entry.layer] = max(at for at, one in enumerate(own) if one.asked <= rate)
    goal = f"the stages' rates where a layer alone may lose {points(advice.max_drop)}"
    known = basis(study, found, advice.column, advice.criterion, recovery)
    return predicted(study, known, choice, goal, advice.criterion, advice.column)


def described(
    study: Study, choice: Mapping[str, Candidate], goal: str, criterion: str, column: str,
    baseline: float,
) -> Allocation:  # fmt: skip
    """The allocation that a choice for each unit makes, without a prediction."""
    anatomy = study.anatomy
    rates = tuple(
        _rate(anatomy, unit, choice.get(unit.name)) for unit in anatomy.units if unit.kind != "tied"
    )
    return Allocation(
        study.header.subject, goal, criterion, column, baseline, study.images, rates,
        cost(anatomy), cost(anatomy, dropped(anatomy, choice)), nan, nan, "",
    )  # fmt: skip


def predicted(
    study: Study, known: Basis, choice: Choice, goal: str, criterion: str, column: str
) -> Allocation:
    """The allocation with what it is predicted to lose, and what that rests on."""
    taken = {unit: known.found[unit][at] for unit, at in choice.items()}
    if not known.composes:
        made = described(study, taken, goal, criterion, column, known.baseline)
        return replace(made, guarantee=UNPREDICTED.format(MEASURED_BY[known.linear]))
    drop, high = known.predicted(choice)
    how, after = HOW[known.by], ""
    if learned := calibrated(study, known):
        high = learned.upper(high)
        how = (
            f"{how}, and for the upper one raised so that with 95 % confidence it covers 95 % of "
            f"random rates, as {len(learned.measured)} of them on this network showed"
        )
    elif known.recovery:
        how = f"{how}, each after recovery by {known.recovery}, while cuts made together cost more"
        after = " with --recover"
    else:
        how = f"{how}, while cuts made together often cost more (`lesion calibrate` shows it)"
    said = f"A prediction: {how}; `lesion refine` and `lesion verify`{after} measure it."
    return replace(
        described(study, taken, goal, criterion, column, known.baseline), drop=drop, high=high,
        guarantee=said + RUINED if drop > MUCH and not after else said,
    )  # fmt: skip


def calibrated(study: Study, known: Basis) -> Calibration | None:
    """What the study knows of predictions that rest on the same; none of recovered lesions."""
    found = Calibration.from_json(study.calibration) if study.calibration else None
    own = found is not None and found.by == known.by and not known.recovery
    return found if own else None


def _rate(anatomy: Anatomy, unit: Unit, choice: Candidate | None) -> UnitRate:
    candidate = choice or Candidate(0.0, np.zeros(unit.channels, bool))
    gone = np.zeros(anatomy.channels, bool)
    gone[unit.first : unit.first + unit.channels] = candidate.fallen
    filters = {
        name: tuple(np.flatnonzero(keeps(anatomy.made_by(name), gone)).tolist())
        for name in unit.layers
    }
    return UnitRate(
        unit.name, unit.kind, stage_of(anatomy, unit), unit.channels,
        tuple(np.flatnonzero(~candidate.fallen).tolist()), filters, candidate.drop, candidate.high,
        candidate.measured, choice.reason if choice else "not measured as a unit",
    )  # fmt: skip
