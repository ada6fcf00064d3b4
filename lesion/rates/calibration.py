"""How far joint drops exceed what single cuts predict, learned from random sets of rates.

A set that is predicted to lose l and loses l + e·l^(3/2), as losses that add up, has the excess e:
cuts hurt each other in pairs and more, so heavy sets exceed their prediction by a larger share than
light ones.  With 95 % confidence at least 95 % of all sets drawn in the same way have no larger
excess than the largest of 59, the second largest of 93, and so on (Wilks 1941, tolerance limits),
whatever the network and however drops compose.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import comb, inf, isfinite

import numpy as np

from lesion.rates.prediction import joint_drop, losses

SLACK = 0.5  # points: where next to nothing is predicted, chance decides
POWER = 1.5  # of a predicted loss, by which excesses are alike for light and heavy sets
SHARE = CONFIDENCE = 0.95


@dataclass(frozen=True)
class Calibration:
    """Random sets of rates that were measured together.

    predicted: each set's joint drop by its single cuts, measured: together, both in points;
    baseline: the intact network's score in per cent; images: on how many of them
    by: what was predicted by, "margins" or "drops"
    """

    predicted: tuple[float, ...]
    measured: tuple[float, ...]
    baseline: float
    images: int
    by: str = "drops"

    @property
    def excess(self) -> float:
        """That of the upper prediction, inf below 59 sets.

        >>> made = Calibration((10.0,) * 59, tuple(range(1, 60)), 90.0, 1000)
        >>> round(made.excess, 3)  # log(90 / 31) = l + e·l^1.5 with l = log(90 / 79.5)
        21.554
        """
        predicted = [self._base(drop) for drop in self.predicted]
        excesses = [
            (_loss(measured, self.baseline) - base) / self._unit(base)
            for base, measured in zip(predicted, self.measured, strict=True)
        ]
        return max(limit(excesses), 0.0)

    def upper(self, predicted: float) -> float:
        """The upper prediction for a joint drop, in points, never below the prediction.

        >>> made = Calibration((10.0,) * 59, tuple(range(1, 60)), 90.0, 1000)
        >>> round(made.upper(10.0), 6), round(made.upper(1.0), 3)
        (59.0, 5.56)
        """
        base = self._base(predicted)
        return joint_drop(base + self.excess * self._unit(base), self.baseline)

    def allowed(self, upper: float) -> float:
        """The joint drop whose upper prediction is `upper`; the inverse of that.

        >>> made = Calibration((10.0,) * 59, tuple(range(1, 60)), 90.0, 1000)
        >>> round(made.upper(made.allowed(5.0)), 6)
        5.0
        """
        from scipy.optimize import brentq  # late, so that reading a study is quick

        loss, excess = _loss(upper, self.baseline), self.excess
        least = self._unit(0.0)
        if not isfinite(excess):
            return -self.baseline
        base = loss - excess * least  # where the prediction is no more than the slack
        if base > _loss(SLACK, self.baseline):
            base = brentq(lambda tried: tried + excess * self._unit(tried) - loss, 0.0, loss)
        return joint_drop(base, self.baseline) - SLACK

    def _base(self, predicted: float) -> float:
        """The loss that is predicted, and the slack."""
        return _loss(predicted + SLACK, self.baseline)

    def _unit(self, base: float) -> float:
        """By how much a set of a predicted loss exceeds it for each unit of its excess."""
        return float(max(base, _loss(SLACK, self.baseline)) ** POWER)

    def to_json(self) -> str:
        """Itself as text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Calibration":
        """What `to_json` gave."""
        values = json.loads(text)
        predicted, measured = tuple(values.pop("predicted")), tuple(values.pop("measured"))
        return cls(predicted, measured, **values)


def limit(excesses: Sequence[float]) -> float:
    """What with 95 % confidence 95 % of further excesses do not pass, inf where no number is.

    The least of them below which there are so many that a share of less than 95 % would hardly
    ever be below it.

    >>> limit(list(range(1, 60))), limit(list(range(1, 94))), limit([1.0] * 58)
    (59, 92, inf)
    """
    sets, below = len(excesses), 0.0
    for place, excess in enumerate(sorted(excesses)):
        below += comb(sets, place) * SHARE**place * (1 - SHARE) ** (sets - place)
        if below >= CONFIDENCE:
            return excess
    return inf


def _loss(drop: float, baseline: float) -> float:
    return float(losses(np.array([drop]), baseline)[0])
