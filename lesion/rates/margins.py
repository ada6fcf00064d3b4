"""How cuts move each image's margin: what several cuts together are predicted by.

A lesion moves an image's margin, its label's logit minus the best other one.  Moves of several
lesions nearly add up, image by image, and an image turns wrong where their sum exceeds its margin.
Drops do not add up so: while each cut alone stays within most margins none costs anything, and
together they cost everything.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lesion.rates.knobs import State
from lesion.results.drops import paired

LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class Shifts:
    """What images' values are in one state, and how other settings of each knob move them.

    scores: (images,) the intact network's
    state: of each knob its setting; base: (images,) values there
    moves: for each knob (settings, images), zero at the state's own
    hits: whether values are margins, which score 1 above 0; else they are the scores
    """

    scores: np.ndarray
    state: State
    base: np.ndarray
    moves: Sequence[np.ndarray]
    hits: bool = True

    def values(self, state: State) -> np.ndarray:
        """The predicted values in a state, (images,).

        >>> moves = [np.array([[0.0, 0.0], [-1.0, -2.0]]), np.array([[0.0, 0.0], [-2.0, 0.5]])]
        >>> made = Shifts(np.ones(2), (0, 0), np.array([2.5, 1.0]), moves)
        >>> [made.drop(made.values(state)) for state in ((1, 0), (0, 1), (1, 1))]
        [50.0, 0.0, 100.0]
        """
        pairs = zip(self.moves, state, strict=True)
        return sum((moves[setting] for moves, setting in pairs), self.base)

    def lost(self, values: np.ndarray) -> np.ndarray:
        """The mean score that is lost, over the last axis."""
        left = (values > 0 if self.hits else values).mean(-1, dtype=float)
        lost: np.ndarray = self.scores.mean(dtype=float) - left
        return lost

    def drop(self, values: np.ndarray) -> float:
        """The drop in points."""
        return 100 * float(self.lost(values))

    def high(self, values: np.ndarray) -> float:
        """The upper end of its paired interval, in points."""
        base = self.scores > 0 if self.hits else self.scores
        return 100 * paired(base, values > 0 if self.hits else values, LEVEL)[2]


class Soft(Shifts):
    """The same, but what margins lose is the mean of log(1 + exp(-margin)).

    Where nearly every image stays right, this tells states apart that hits do not: those that stay
    right by less count too.
    """

    def lost(self, values: np.ndarray) -> np.ndarray:
        """The mean loss, over the last axis.

        >>> bool(Soft.loss(np.array([2.0, 2.0])) < Soft.loss(np.array([3.0, 0.5])))
        True
        """
        return self.loss(values)

    @staticmethod
    def loss(values: np.ndarray) -> np.ndarray:
        """Of margins, over the last axis."""
        loss: np.ndarray = np.logaddexp(0, -values).mean(-1, dtype=float)
        return loss


class Unlucky(Soft):
    """The same, but what moves margins up on average gains nothing.

    Few bits move margins both ways and by little, so that of many choices some gain by chance on
    the images at hand.  What margins lose is here at least the mean of their loss and of that where
    all have moved the other way, which is never below the base's, since the loss is convex.
    """

    def lost(self, values: np.ndarray) -> np.ndarray:
        """The mean loss, over the last axis.

        >>> base, lucky = np.array([1.0, 1.0]), np.array([2.0, 1.0])
        >>> made = Unlucky(np.ones(2), (0,), base, [np.stack([base - base, lucky - base])])
        >>> bool(Soft.loss(lucky) < Soft.loss(base) < made.lost(lucky))
        True
        """
        loss = self.loss(values)
        both = (loss + self.loss(2 * self.base - values)) / 2
        larger: np.ndarray = np.maximum(loss, both)
        return larger
