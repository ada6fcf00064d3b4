"""How far joint drops exceed what single cuts predict, learned from random sets of rates.

The measured joint loss of a set divided by its predicted one is its excess.  A further set drawn in
the same way exceeds the k-th smallest of n excesses, k = ⌈0.95 (n + 1)⌉, with a probability of at
most 5 % (split conformal prediction, Vovk et al. 2005), whatever the network and however drops
compose.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil, inf

import numpy as np

from lesion.composing import joint_drop, losses

SLACK = 0.5  # points: where next to nothing is predicted, chance decides
LEVEL = 0.95


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
        """By what a predicted loss is multiplied for the upper prediction; inf from too few sets.

        >>> made = Calibration((10.0,) * 19, tuple(range(1, 20)), 90.0, 1000)
        >>> round(made.factor, 3)  # 19 points instead of 10 + 0.5
        1.912
        """
        return quantile(
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

        >>> made = Calibration((10.0,) * 19, tuple(range(1, 20)), 90.0, 1000)
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


def quantile(excesses: Sequence[float]) -> float:
    """The conformal quantile of the excesses, inf where there are fewer than 19.

    >>> quantile(list(range(1, 20))), quantile(list(range(1, 41))), quantile([1.0] * 18)
    (19, 39, inf)
    """
    place = ceil(LEVEL * (len(excesses) + 1))
    return sorted(excesses)[place - 1] if place <= len(excesses) else inf


def _loss(drop: float, baseline: float) -> float:
    return float(losses(np.array([drop]), baseline)[0])
