"""How the error that a study may make is spent: a share for every claim, fixed before it is made.

A claim is about one lesion and one question: a score, a tolerance, a set of images.  With q(lesion)
and v(question) that are fixed when the first lesions by a criterion are planned, and that sum to
one at most over all lesions and all questions that there could ever be, the claim has the share

    α · q(lesion) · v(question),

so that all claims together err with probability α at most, whatever is measured later, whatever is
asked, in how many copies of the study, and however often.  Nearly all of q goes to the lesions that
were planned, and of v to what was asked of them; the rest is kept for what nobody has thought of.
Where studies with different plans are joined, a claim has the mean of its shares, which again sum
to α at most.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from functools import cached_property
from math import pi

import numpy as np

from lesion.lesions.lesion import Lesion
from lesion.lesions.ratios import ROUNDINGS
from lesion.network.anatomy import Anatomy
from lesion.study.aim import Aim
from lesion.study.study import Study
from lesion.subject.outcomes import SCORES

FILTERS = "filters"
PLANNED = 0.95  # of q for the planned lesions, of v for the planned question
STEPS = 20  # ratios that are a multiple of 1 / STEPS are likelier than others
USUAL = 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0  # tolerances, in points


@dataclass(frozen=True)
class Plan:
    """The first lesions of a study of one family (see `family_of`), and the first question.

    targets: (name, kind, number of lesions) of each target; ratios: the amounts of damage
    images: how many of the order may be looked at; narrow: whether a half-width was asked
    """

    criterion: str
    recovery: str
    targets: tuple[tuple[str, str, int], ...]
    ratios: tuple[float, ...]
    rounding: str
    seed: int
    column: str
    max_drop: float
    images: int
    narrow: bool
    damage: str = FILTERS

    @classmethod
    def of(cls, lesions: Sequence[Lesion], aim: Aim, images: int) -> "Plan":
        """The plan that consists of these lesions, all of one family."""
        first, count = lesions[0], Counter((lesion.target, lesion.kind) for lesion in lesions)
        return cls(
            first.criterion,
            first.recovery,
            tuple((*target, number) for target, number in count.items()),
            tuple(sorted({lesion.amount for lesion in lesions})),
            first.rounding,
            first.seed,
            aim.column,
            aim.max_drop,
            images,
            bool(aim.half_width),
            first.damage,
        )

    @property
    def family(self) -> str:
        """What the lesions have in common, see `family_of`."""
        return _family(self.damage, self.criterion, self.recovery)

    def to_text(self) -> str:
        """Itself as JSON, that of filters as it was before there was other damage."""
        values = asdict(self)
        if self.damage == FILTERS:
            del values["damage"]
        return json.dumps(values)

    @classmethod
    def from_text(cls, text: str) -> "Plan":
        """The plan that `to_text` wrote."""
        values = json.loads(text)
        targets = tuple((str(name), str(kind), int(n)) for name, kind, n in values["targets"])
        return cls(**{**values, "targets": targets, "ratios": tuple(values["ratios"])})

    def weight(self, lesion: Lesion, anatomy: Anatomy, alone: bool = False) -> float:
        """q of a lesion of this family; alone: where the lesions of each target share α.

        Two lesions of a target that cut equally many channels are one.
        """
        counts = self._counts
        planned = counts.get((lesion.target, lesion.kind), len(self.ratios) if alone else 0)
        alike = (lesion.rounding, lesion.seed) == (self.rounding, self.seed)
        likely = 0.0
        if planned and alike and lesion.amount in self.ratios:
            likely = 1 / (planned if alone else counts.total())
        everywhere = 1 if alone else len(anatomy.units) + len(anatomy.layers)
        seed = _mean(lesion.seed == self.seed, 1 / ((lesion.seed + 1) * (lesion.seed + 2)))
        return _planned(likely, self._amount(lesion) * seed / everywhere)

    @cached_property
    def _counts(self) -> Counter[tuple[str, str]]:
        """How many lesions of each target were planned."""
        return Counter({(name, kind): number for name, kind, number in self.targets})

    def _amount(self, lesion: Lesion) -> float:
        """How likely an amount is that was not planned of the target."""
        alike = lesion.rounding == self.rounding
        known = alike * (lesion.amount in self.ratios) / len(self.ratios)
        if self.damage != FILTERS:
            either = len(ROUNDINGS) * 2  # signs
            return _mean(known, _decimal(abs(lesion.amount)) / either if lesion.amount else 0.0)
        round_ = abs(lesion.amount * STEPS - round(lesion.amount * STEPS)) < 1e-9
        return _mean(known, alike * round_ / (STEPS - 1), 1 / max(lesion.channels - 1, 1))

    def asked(self, aim: Aim, images: int, order: int | None) -> float:
        """v of a question; order: how many images there are, None for a question of them all."""
        narrow = bool(aim.half_width)
        same = aim.column == self.column, order is None or images == self.images
        if all(same) and narrow == self.narrow:
            return _planned(aim.max_drop == self.max_drop, _mean(tolerance(aim.max_drop), 0))
        size = 1.0 if order is None else _mean(same[1], images == order, 1 / order)
        score = _mean(same[0], 1 / len(SCORES))
        way = _mean(narrow == self.narrow, 1 / 2)
        drop = _mean(aim.max_drop == self.max_drop, tolerance(aim.max_drop))
        return _planned(0, _mean(score * size * way * drop, 0))


def _planned(likely: float, other: float) -> float:
    return PLANNED * likely + (1 - PLANNED) * other


def _mean(*weights: float) -> float:
    return sum(weights) / len(weights)


def tolerance(points: float) -> float:
    """How likely a tolerance is to be asked; sums to one over all decimal numbers above 0.

    Half of it is for usual ones, the other half the smaller the more digits a number has and the
    farther its first digit is from the decimal point.

    >>> round(tolerance(2), 4), round(tolerance(0.7), 4), round(tolerance(1.25), 7)
    (0.0746, 0.003, 3.03e-05)
    """
    return _mean((points in USUAL) / len(USUAL), _decimal(points))


def _decimal(size: float) -> float:
    """How likely a number is to be meant; sums to one over all decimal numbers above 0."""
    _, digits, exponent = Decimal(repr(float(size))).normalize().as_tuple()
    assert isinstance(exponent, int)  # what is meant is finite
    away = 1 + abs(exponent + len(digits) - 1)
    place = 1 / (away**2 * (pi**2 / 3 - 1))
    number = 0.5 ** len(digits) / (9 * 10 ** (len(digits) - 1))
    return float(place * number)


def planned(study: Study, lesions: Sequence[Lesion], aim: Aim, images: int) -> None:
    """Fixes, before they are added, what the study was first to tell of their family."""
    if lesions:
        plan = _held(study, family_of(lesions[0]), aim, images) or Plan.of(lesions, aim, images)
        study.add_plan(plan.family, plan.to_text())


def shares(study: Study, aim: Aim, lesions: Sequence[Lesion], images: int) -> np.ndarray:
    """(lesions,) the error that each lesion's claim may make; images: those it is about."""
    of_set = study.header.setting("estimand") == "set"
    order, alone = len(study.header.order) if of_set else None, aim.guarantee == "layer"
    families = dict.fromkeys(map(family_of, lesions))
    plans = {family: plans_of(study, family, aim, images) for family in families}
    asked = {plan: plan.asked(aim, images, order) for some in plans.values() for plan in some}
    weights = [
        _mean(
            *(
                plan.weight(one, study.anatomy, alone) * asked[plan]
                for plan in plans[family_of(one)]
            )
        )
        for one in lesions
    ]
    return (1 - aim.confidence / 100) * np.array(weights)


def tolerances(study: Study, aim: Aim, lesions: Iterable[Lesion], images: int) -> set[float]:
    """The tolerances, other than what is asked, that were planned for the same question."""
    plans = {p for f in set(map(family_of, lesions)) for p in plans_of(study, f, aim, images)}
    return {plan.max_drop for plan in plans if plan.column == aim.column} - {aim.max_drop}


def family_of(lesion: Lesion) -> str:
    """What the claims have in common that share α: damage, criterion and recovery."""
    return _family(lesion.damage, lesion.criterion, lesion.recovery)


def _family(damage: str, criterion: str, recovery: str) -> str:
    """In a text; that of filters as it was before there was other damage."""
    kind = "" if damage == FILTERS else f"{damage}/"
    return f"{kind}{criterion}/{recovery}"


def plans_of(study: Study, family: str, aim: Aim, images: int) -> list[Plan]:
    """The plans of a family; of a study from before plans were kept, what it holds now."""
    kept = [Plan.from_text(text) for text in study.plans]
    held = [plan for plan in kept if plan.family == family]
    return held or [plan for plan in [_held(study, family, aim, images)] if plan]


def _held(study: Study, family: str, aim: Aim, images: int) -> Plan | None:
    lesions = [lesion for lesion in study.lesions if family_of(lesion) == family]
    first = next((asked for asked in study.aims if asked.column == aim.column), aim)
    return Plan.of(lesions, first, images) if lesions else None
