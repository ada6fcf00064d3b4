"""Groups of images that a lesion flips about equally often, and how often they may flip.

A lesion rarely turns an answer that the intact network gave with a wide margin.  Images are grouped
by the size of their margin and by whether the intact network is right; inside a group they keep the
study's order, which is a uniform random order of the group.  Everything here follows from the
question alone, so verdicts hold whatever the margins are worth.
"""

from functools import cached_property

import numpy as np

from lesion.errors import LesionError
from lesion.sequential.question import Array, Question
from lesion.sequential.uniform import normal

DROPS = np.array([0.02, 0.15, 0.35, 0.6, 0.85, 1, 1.2, 1.6, 2.5, 5, 10, 25])
EDGES = np.array([0.125, 0.25, 0.375, 0.5, 0.75, 1, 1.25, 1.5, 2, 2.5, 3.5])
BLIND = ((0.0, 0.8), (0.5, 0.1), (1.0, 0.1))  # how far flips ignore the margin, and how likely
REPAIRS = 0.3  # for each broken image, where margins cannot tell
STRAY = 0.02  # of the tolerance: broken images that no margin explains


class Strata:
    """The groups of a question and a family of models of how often each group flips.

    layout: (N,) positions, group after group; start: (groups + 1,) where each begins; size, right:
    (groups,) images, and whether the intact network is right on them; model: (models, groups)
    probabilities of a flip; prior: (models,) log weights.

    A model says that an image flips with probability Φ(−|margin| / s), where the severity s gives
    drops of DROPS times the tolerance, partly or wholly evened out over the margins.
    """

    def __init__(self, question: Question) -> None:
        if not question.binary:
            raise LesionError(
                "Expected base scores of 0 or 1 to group images by margin: use the uniform order."
            )
        if question.estimand != "set":
            raise LesionError(
                "Expected the evaluation set as estimand to group images by margin: use the "
                "uniform order for the population."
            )
        self.question = question
        self._sign = np.where(question.base > 0.5, 1.0, -1.0)
        self._distance, self._severity, self._known = self._severities()
        edges = self._severity[np.flatnonzero(DROPS == 1)[0]] * EDGES
        edges = edges if self._known else edges[:0]
        group = np.digitize(self._distance, edges) + (len(EDGES) + 1) * (self._sign < 0)
        self.layout = np.argsort(group, kind="stable")
        _, self.size = np.unique(group, return_counts=True)
        self.start = np.append(0, np.cumsum(self.size))
        self.right = self._sign[self.layout[self.start[:-1]]] > 0
        self.model, self.prior = self._models()

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return len(self.size)

    @cached_property
    def log_model(self) -> tuple[Array, Array]:
        """log probabilities of a flip and of none."""
        return np.log(self.model), np.log1p(-self.model)

    def _severities(self) -> tuple[Array, Array, bool]:
        """|margin|, the severity that makes each of the drops, and whether margins can tell."""
        question, targets = self.question, DROPS * self.question.tolerance
        if question.margin is None or not np.abs(question.margin).any():
            return np.ones(question.images), np.ones(len(DROPS)), False
        distance = np.abs(question.margin)
        order = np.argsort(distance, kind="stable")
        bins = np.array_split(order, min(512, len(order)))
        middle = np.array([distance[part].mean() for part in bins])
        weight = np.array([self._sign[part].sum() for part in bins]) / len(order)
        low, high = np.full((2, len(DROPS)), distance.mean()) * [[1e-4], [1e2]]
        for _ in range(40):
            severity = np.sqrt(low * high)
            less = normal(-middle / severity[:, None]) @ weight < targets
            low, high = np.where(less, severity, low), np.where(less, high, severity)
        reached = normal(-middle / severity[:, None]) @ weight
        tolerated = np.flatnonzero(DROPS == 1)[0]
        return distance, severity, bool(abs(reached[tolerated] / targets[tolerated] - 1) < 0.2)

    def _models(self) -> tuple[Array, Array]:
        """Flip probabilities by group under each severity and blindness, and their prior."""
        parts = np.split(self.layout, self.start[1:-1])
        by_margin = np.array(
            [[normal(-self._distance[part] / s).mean() for part in parts] for s in self._severity]
        )
        if not self._known:
            by_margin = self._blindly()
        even = np.zeros(by_margin.shape)
        for side in (self.right, ~self.right):
            if side.any():
                even[:, side] = np.average(by_margin[:, side], 1, self.size[side])[:, None]
        model = np.concatenate([(1 - share) * by_margin + share * even for share, _ in BLIND])
        model += STRAY * self.question.tolerance * self.right
        prior = np.repeat([weight for _, weight in BLIND], len(DROPS))
        return np.clip(model, 1e-6, 0.9), np.log(prior)

    def _blindly(self) -> Array:
        """Equal probabilities on either side of right and wrong that make the drops."""
        drops = (DROPS * self.question.tolerance * self.question.images)[:, None]
        images = np.where(self.right, self.size[self.right].sum(), self.size[~self.right].sum())
        flips = np.where(self.right, (1 + REPAIRS) * drops, REPAIRS * drops)
        return np.asarray(flips / np.maximum(images, 1))

    def clocks(self, seed: int) -> Array:
        """(N,) when each place of the layout is drawn, in its group's own time; rising in a group.

        The sorted values of as many independent standard exponentials as the group has images: a
        group whose images wait for a draw at rate y each reaches a place when the sum of y over
        time reaches its clock.
        """
        gaps = np.random.default_rng([seed, self.question.images]).standard_exponential(
            self.question.images
        )
        rank = np.arange(self.question.images) - np.repeat(self.start[:-1], self.size)
        gaps /= np.repeat(self.size, self.size) - rank
        for start, end in zip(self.start[:-1], self.start[1:], strict=True):
            gaps[start:end] = np.cumsum(gaps[start:end])
        return gaps
