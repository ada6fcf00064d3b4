"""From curves to rates that meet a budget together."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lesion.accounting import Account, macs, parameters
from lesion.advice import Advice
from lesion.allocation import Allocation, UnitRate
from lesion.anatomy import Anatomy, Unit, keeps
from lesion.budget import RESOURCES, Budget
from lesion.calibration import Calibration
from lesion.candidates import Candidate, Candidates, candidates, dropped
from lesion.composing import joint_drop, losses
from lesion.cost import cost
from lesion.curves import column_of, curves
from lesion.errors import LesionError
from lesion.judging import criterion_of
from lesion.solving import Bound, Problem, solve
from lesion.study import Study
from lesion.wording import percent, points

if TYPE_CHECKING:
    from lesion.latency import Times


def allocate(
    study: Study,
    budget: Budget,
    *,
    times: "Times | None" = None,
    criterion: str | None = None,
    column: str | None = None,
    confidence: float = 95,
    recovery: str = "",
) -> Allocation:
    """The rates that lose least by prediction and meet the budget, found exactly.

    Each unit takes one of the ratios that were measured. What it costs the accuracy is the upper
    end of its drop's interval, at `confidence` per cent of each drop; drops compose as accuracies
    multiply (see `lesion.composing`). What it costs in multiply-accumulates and parameters is
    that of the physically smaller network: a layer between two units that shrink costs the product
    of what both keep.

    times: the table that a budget of latency is reckoned by, see `lesion.latency`

    Raises LesionError where the budget is out of reach, with the nearest that can be reached, and
    EvidenceError where the study has no curves for what is asked.
    """
    budget.check()
    if times is None and "latency" in (*budget.shares, budget.smallest):
        raise LesionError(
            "Expected a table of times for a budget of latency, got none; `lesion time` makes one."
        )
    column = column_of(study, column)
    criterion = criterion_of(study, criterion, recovery)
    found = choices(study, budget, criterion, column, confidence, recovery)
    baseline = 100 * float(study.intact().outcomes[column].mean())
    accounts = accounts_of(study.anatomy, found, times)
    most = budget.max_drop
    if most is not None and (known := _calibrated(study)):
        most = known.allowed(most)
    choice = _best(study.anatomy, found, budget, baseline, accounts, most)
    allocation = described(
        study, {unit: found[unit][at] for unit, at in choice.items()}, budget.words(), criterion,
        column, baseline,
    )  # fmt: skip
    if times is None:
        return allocation
    own = accounts["latency"]
    return replace(allocation, milliseconds=(own.intact, own.at(choice), times.spread))


def choices(
    study: Study, budget: Budget, criterion: str, column: str, confidence: float = 95,
    recovery: str = "",
) -> Candidates:  # fmt: skip
    """What each unit may lose within the budget's multiples, pins and skips; see `candidates`."""
    frame = curves(study, column, confidence)
    own = (frame["criterion"] == criterion) & (frame["recovery"] == recovery)
    return candidates(study, frame[own], budget)


def by_stage(study: Study, advice: Advice) -> Allocation:
    """The rates of an advice's stages, and of free layers outside them, as an allocation."""
    found = choices(study, Budget(per="layer"), advice.criterion, advice.column, advice.confidence)
    choice = {}
    for entry in advice.layers:
        if entry.kind == "free" and entry.layer in found:
            rate = entry.rate if entry.stage_rate is None else entry.stage_rate
            at = max(place for place, one in enumerate(found[entry.layer]) if one.asked <= rate)
            choice[entry.layer] = found[entry.layer][at]
    goal = f"the stages' rates where a layer alone may lose {points(advice.max_drop)}"
    return described(study, choice, goal, advice.criterion, advice.column, advice.baseline)


def _best(
    anatomy: Anatomy, found: Candidates, budget: Budget, baseline: float,
    accounts: Mapping[str, Account], max_drop: float | None,
) -> dict[str, int]:  # fmt: skip
    """The best choices. Raises LesionError where the budget is out of reach."""
    problem = _problem(anatomy, found, budget, baseline, accounts, max_drop)
    choice = solve(problem)
    if choice is not None:
        return choice
    raise LesionError(_out_of_reach(anatomy, found, budget, baseline, accounts, max_drop))


def accounts_of(
    anatomy: Anatomy, found: Candidates, times: "Times | None" = None
) -> dict[str, Account]:
    """What choices cost of each resource."""
    accounts = {"macs": macs(anatomy, found), "params": parameters(anatomy, found)}
    return accounts if times is None else {**accounts, "latency": times.account(anatomy, found)}


def _problem(
    anatomy: Anatomy, found: Candidates, budget: Budget, baseline: float,
    accounts: Mapping[str, Account], max_drop: float | None,
) -> Problem:  # fmt: skip
    loss = {
        unit: losses(np.array([one.high for one in own]), baseline) for unit, own in found.items()
    }
    most = np.inf
    if max_drop is not None:
        most = float(losses(np.array([max_drop]), baseline)[0])
    bounds = [
        Bound(accounts[name], share * accounts[name].intact)
        for name, share in budget.shares.items()
    ]
    least = accounts[budget.smallest] if budget.smallest else None
    return Problem(loss, bounds, most, least, groups(anatomy, found, budget), {
        unit: [one.asked for one in own] for unit, own in found.items()
    })  # fmt: skip


def groups(anatomy: Anatomy, found: Candidates, budget: Budget) -> list[list[str]]:
    """The units of each stage, where these share a rate."""
    if budget.per != "stage":
        return []
    groups: dict[Any, list[str]] = {}
    for unit in found:
        stage = stage_of(anatomy, anatomy.unit[unit])
        if stage is not None:
            groups.setdefault(stage, []).append(unit)
    return list(groups.values())


def _out_of_reach(
    anatomy: Anatomy, found: Candidates, budget: Budget, baseline: float,
    accounts: Mapping[str, Account], max_drop: float | None,
) -> str:  # fmt: skip
    """What can be reached of the first resource, the other bounds held where that is possible."""
    name = next(iter(budget.shares), budget.smallest)
    account = accounts[name]
    whole = _problem(anatomy, found, budget, baseline, accounts, max_drop)
    others = [one for one in whole.bounds if one.account is not account]
    for bounds, most in ((others, whole.most), ([], whole.most), ([], np.inf)):
        nearest = solve(Problem(whole.loss, bounds, most, account, whole.shared, whole.columns))
        if nearest is not None:
            break
    else:
        return "Expected rates that can be met, but what is pinned contradicts itself."
    left = percent(np.ceil(1e4 * account.at(nearest) / account.intact) / 1e4)
    lost = sum(float(whole.loss[unit][at]) for unit, at in nearest.items())
    return (
        f"Expected rates with {budget.words()}, but that is out of reach: the fewest "
        f"{RESOURCES[name]} that the study's ratios leave are {left}, "
        f"at a predicted drop of {points(round(joint_drop(lost, baseline), 2))}; allow more to "
        "remain or to be lost, or measure higher ratios or more layers (--units all)."
    )


def stage_of(anatomy: Anatomy, unit: Unit) -> int | None:
    """The stage of a unit's layers, None where they are of several."""
    stages = {anatomy.layer[name].stage for name in unit.layers}
    return stages.pop() if len(stages) == 1 else None


def described(
    study: Study, choice: Mapping[str, Candidate], goal: str, criterion: str, column: str,
    baseline: float,
) -> Allocation:  # fmt: skip
    """The allocation that a choice for each unit makes."""
    anatomy = study.anatomy
    rates = tuple(
        _rate(anatomy, unit, choice.get(unit.name)) for unit in anatomy.units if unit.kind != "tied"
    )
    drop, high = (
        joint_drop(losses(np.array(values, float), baseline).sum(), baseline)
        for values in ([one.drop for one in choice.values()],
                       [one.high for one in choice.values()])
    )  # fmt: skip
    how = "single drops composed as accuracies multiply"
    if known := _calibrated(study):
        high = known.upper(high)
        how = (
            f"{how}, and for the upper one multiplied by {known.factor:.2f}, which covers 95 % of "
            f"random rates as {len(known.measured)} of them on this network showed"
        )
    else:
        how = f"{how}, while cuts made together often cost far more (`lesion calibrate` shows it)"
    return Allocation(
        study.header.subject, goal, criterion, column, baseline, study.images, rates,
        cost(anatomy), cost(anatomy, dropped(anatomy, choice)), drop, high,
        f"A prediction: {how}; `lesion refine` and `lesion verify` measure it.",
    )  # fmt: skip


def _calibrated(study: Study) -> Calibration | None:
    return Calibration.from_json(study.calibration) if study.calibration else None


def _rate(anatomy: Anatomy, unit: Unit, taken: Candidate | None) -> UnitRate:
    candidate = taken or Candidate(0.0, np.zeros(unit.channels, bool))
    gone = np.zeros(anatomy.channels, bool)
    gone[unit.first : unit.first + unit.channels] = candidate.fallen
    filters = {
        name: tuple(np.flatnonzero(keeps(anatomy.made_by(name), gone)).tolist())
        for name in unit.layers
    }
    return UnitRate(
        unit.name, unit.kind, stage_of(anatomy, unit), unit.channels,
        tuple(np.flatnonzero(~candidate.fallen).tolist()), filters, candidate.drop, candidate.high,
        candidate.measured, "" if taken else "not measured as a unit",
    )  # fmt: skip
