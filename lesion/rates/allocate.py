"""From curves to rates that meet a budget together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import nan
from typing import TYPE_CHECKING

import numpy as np

from lesion.compression.footprint import Footprint
from lesion.errors import EvidenceError, LesionError
from lesion.network.anatomy import Anatomy, Unit, keeps
from lesion.network.cost import Cost, cost
from lesion.rates.allocation import Allocation
from lesion.rates.budget import RESOURCES, Budget
from lesion.rates.calibration import Calibration
from lesion.rates.candidates import Candidate, Candidates, candidates, dropped
from lesion.rates.knobs import Choice
from lesion.rates.layer_options import compressed, layer_options, mixed, stored, weight_readings
from lesion.rates.optimise import Within, accounts_of, stage_of
from lesion.rates.prediction import Basis, basis
from lesion.rates.unit_rate import UnitRate
from lesion.results.advice import Advice
from lesion.results.reading import Reading, last_aim
from lesion.study.study import Study
from lesion.words import points

if TYPE_CHECKING:
    from lesion.rates.latency import Times

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


def check(budget: Budget, times: "Times | None") -> None:
    """Raises LesionError for what cannot be asked, before anything is read."""
    budget.check()
    if times is None and "latency" in (*budget.shares, budget.smallest):
        raise LesionError(
            "Expected a table of times for a budget of latency, got none; `lesion time` makes one."
        )


def allocated(
    reading: Reading, budget: Budget, times: "Times | None" = None, by: str = ""
) -> Allocation:
    """The rates within a budget that a reading gives, see `lesion.recommend`."""
    check(budget, times)
    choices = choices_of(reading, budget)
    known = basis(reading, choices, by)
    most = budget.max_drop
    if most is not None and (learned := calibrated(reading.study, known)):
        most = learned.allowed(most)
    accounts = accounts_of(reading.anatomy, choices, times)
    choice = Within(reading.anatomy, known, budget, accounts).best(most)
    rates = timed(predicted(reading, known, choice, budget.words(known.composes)), reading, times)
    bounded = {"bytes", "bops"}.intersection((*budget.shares, budget.smallest))
    return replace(rates, footprints=footprints(reading.anatomy, rates)) if bounded else rates


def footprints(anatomy: Anatomy, rates: Allocation) -> tuple[Footprint, Footprint]:
    """What all layers cost in the intact network, and what they cost with these rates."""
    nothing = np.zeros(anatomy.channels, bool)
    return stored(anatomy, nothing), stored(anatomy, rates.dropped(anatomy), rates.weights)


def choices_of(reading: Reading, budget: Budget) -> Candidates:
    """What units may lose, and what layers' weights may become.

    Raises EvidenceError where there is nothing to choose.
    """
    weights = weight_readings(reading)
    others = layer_options(weights, budget)
    units = candidates(reading, budget) if reading.filters or not weights else {}
    choices = {**units, **others}
    if choices:
        return choices
    if not reading.filters:
        bounded = " or ".join(RESOURCES[name] for name in (*budget.shares, budget.smallest) if name)
        raise EvidenceError(
            f"Expected lesions that save {bounded}, but those of {reading.damage} in "
            f"{reading.study.path} save none: bound the stored bytes (--bytes 25%) or bit "
            "operations, or sweep another damage."
        )
    raise EvidenceError(
        "Expected curves of units whose channels can be removed, but "
        f"{reading.study.path} has none: sweep more layers, or coupled units as well (--units all)."
    )


def reading_of(study: Study, allocation: Allocation, recovery: str = "") -> Reading:
    """The lesions that rates rest on, those with a recovery or without one."""
    aim = last_aim(study, allocation.column)
    reading = Reading(study, aim, allocation.criterion, recovery=recovery)
    return mixed(reading, list(dict.fromkeys(each.damage for each in allocation.weights)))


def taken(allocation: Allocation) -> dict[str, Candidate]:
    """What each unit loses that loses channels, as the choice that it took."""
    choices = {}
    for rate in allocation.cut:
        fallen = np.ones(rate.channels, bool)
        fallen[list(rate.kept)] = False
        choices[rate.unit] = Candidate(
            rate.rate, fallen, rate.drop, rate.high, rate.measured, rate.reason
        )
    return choices


def timed(allocation: Allocation, reading: Reading, times: "Times | None") -> Allocation:
    """With the time that it is predicted to take, where there is a table of times."""
    if times is None:
        return allocation
    single: Candidates = {unit: (choice,) for unit, choice in taken(allocation).items()}
    account = times.account(reading.anatomy, single)
    pruned = account.at(dict.fromkeys(single, 0))
    return replace(allocation, milliseconds=(account.intact, pruned, times.miss * pruned))


def by_stage(reading: Reading, advice: Advice) -> Allocation:
    """The rates of an advice's stages, and of free layers outside them, as an allocation.

    reading: the lesions that the advice judged; single drops are under what was asked of them last
    """
    return next(by_stages(reading, [advice]))


def by_stages(reading: Reading, advised: Sequence[Advice]) -> Iterator[Allocation]:
    """The same of several advices of one confidence, such as one for each of some tolerances."""
    reading = reading.under(last_aim(reading.study, reading.column), advised[0].confidence)
    choices = candidates(reading, Budget(per="layer"))
    known = basis(reading, choices)
    for advice in advised:
        goal = f"the stages' rates where a layer alone may lose {points(advice.max_drop)}"
        yield predicted(reading, known, _stages_choice(choices, advice), goal)


def _stages_choice(choices: Candidates, advice: Advice) -> dict[str, int]:
    """Of each unit the choice with the rate of its stage, or with its own outside stages."""
    choice = dict.fromkeys(choices, 0)
    for entry in advice.layers:
        if entry.kind == "free" and entry.layer in choices:
            rate = entry.rate if entry.stage_rate is None else entry.stage_rate
            ratios = [each.asked for each in choices[entry.layer]]
            choice[entry.layer] = max(at for at, ratio in enumerate(ratios) if ratio <= rate)
    return choice


def described(reading: Reading, choice: Mapping[str, Candidate], goal: str) -> Allocation:
    """The allocation that a choice for each unit makes, without a prediction."""
    anatomy, gone = reading.anatomy, dropped(reading.anatomy, choice)
    weights = compressed(weight_readings(reading), choice)
    whole, sliced = stored(anatomy, np.zeros_like(gone)), stored(anatomy, gone)
    left, pruned = stored(anatomy, gone, weights), cost(anatomy, gone)
    if weights:
        fewer = sliced.parameters - left.parameters
        pruned = Cost(left.dense_macs, pruned.parameters - fewer, pruned.weights - fewer)
    return Allocation(
        reading.study.header.subject,
        goal,
        reading.criterion,
        reading.column,
        reading.baseline,
        reading.images,
        tuple(
            _rate(anatomy, unit, choice.get(unit.name))
            for unit in anatomy.units
            if unit.kind != "tied"
        ),
        cost(anatomy),
        pruned,
        nan,
        nan,
        "",
        weights=weights,
        footprints=(whole, left) if weights else (),
    )


def predicted(reading: Reading, known: Basis, choice: Choice, goal: str) -> Allocation:
    """The allocation with what it is predicted to lose, and what that rests on."""
    plain = described(reading, {u: known.candidates[u][at] for u, at in choice.items()}, goal)
    if not known.composes:
        return replace(plain, guarantee=UNPREDICTED.format(MEASURED_BY[known.linear]))
    drop, high = known.predicted(choice)
    how, after = HOW[known.by], ""
    if learned := calibrated(reading.study, known):
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
    ruined = drop > MUCH and not after
    return replace(plain, drop=drop, high=high, guarantee=said + RUINED if ruined else said)


def calibrated(study: Study, known: Basis) -> Calibration | None:
    """What the study knows of predictions that rest on the same; none of recovered lesions."""
    learned = Calibration.from_json(study.calibration) if study.calibration else None
    same = learned is not None and learned.by == known.by and not known.recovery
    return learned if same else None


def _rate(anatomy: Anatomy, unit: Unit, choice: Candidate | None) -> UnitRate:
    candidate = choice or Candidate(0.0, np.zeros(unit.channels, bool), reason=unit.held)
    gone = np.zeros(anatomy.channels, bool)
    gone[unit.first : unit.first + unit.channels] = candidate.fallen
    return UnitRate(
        unit.name,
        unit.kind,
        stage_of(anatomy, unit),
        unit.channels,
        tuple(np.flatnonzero(~candidate.fallen).tolist()),
        {
            name: tuple(np.flatnonzero(keeps(anatomy.made_by(name), gone)).tolist())
            for name in unit.layers
        },
        candidate.drop,
        candidate.high,
        candidate.measured,
        choice.reason if choice else "not measured as a unit",
    )
