"""How far joint drops exceed what single cuts predict, learned from random sets of rates.

The measured joint loss of a set divided by its predicted one is its excess.  With 95 % confidence
at least 95 % of all sets drawn in the same way exceed their prediction by no more than the largest
of 59 excesses, the second largest of 93, and so on (Wilks 1941, tolerance limits), whatever the
network and however drops compose.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import comb, inf

import numpy as np

from lesion.composing import joint_drop, losses

SLACK = 0.5  # points: where next to nothing is predicted, chance decides
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
    def factor(self) -> float:
        """By what a predicted loss is multiplied for the upper prediction, inf below 59 sets.

        >>> made = Calibration((10.0,) * 59, tuple(range(1, 60)), 90.0, 1000)
        >>> round(made.factor, 3)  # 59 points instead of 10 + 0.5
        8.592
        """
        return limit(
            [
                float(_loss(measured, self.baseline) / _loss(predicted + SLACK, self.baseline))
                for predicted, measured in zip(self.predicted, self.measured, strict=True)
            ]
        )

    def upper(self, predicted: float) -> float:
        """The upper prediction for a joint drop, in points."""
        return joint_drop(self.factor * _loss(predicted + SLACK, self.baseline), self.baseline)

    def allowed(self, upper: float) -> float:
        """The joint drop whose upper prediction is `upper`; the inverse of that.

        >>> made = Calibration((10.0,) * 59, tuple(range(1, 60)), 90.0, 1000)
        >>> round(made.upper(made.allowed(5.0)), 6)
        5.0
        """
        return joint_drop(_loss(upper, self.baseline) / self.factor, self.baseline) - SLACK

    def to_json(self) -> str:
        """Itself as text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Calibration":
        """What `to_json` gave."""
        own = json.loads(text)
        predicted, measured = tuple(own.pop("predicted")), tuple(own.pop("measured"))
        return cls(predicted, measured, **own)


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
