"""Criteria held against the oracle: which of them rank channels as their measured removal does."""

import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor, nn

from lesion.errors import LesionError
from lesion.lesions.agreement import Agreement, Scored, by_criterion, by_layer
from lesion.lesions.criteria import Criterion, Filters, Given, Weights, criterion, names
from lesion.lesions.criteria.oracle import IMAGES
from lesion.lesions.lesion import Target
from lesion.lesions.norm_conditions import norm_conditions
from lesion.lesions.scores import Scorer
from lesion.network.dissect import Dissection
from lesion.study.aim import Aim
from lesion.subject.adapter import Adapter
from lesion.subject.subject import Subject
from lesion.subject.training_images import Training
from lesion.sweeps.choices import Choices
from lesion.sweeps.observe import read
from lesion.sweeps.prepare import placed
from lesion.sweeps.removals import shown
from lesion.sweeps.workers import Opening

ORACLE = "oracle"
Progress = Callable[[str, float], None]


def _quiet(name: str, seconds: float) -> None:
    """Says nothing of a criterion that is done."""


class Halved(Criterion):
    """A criterion that sees its images in pairs of batches, and the same on each half of them.

    The first batch of each pair is shown to one half, the second to the other: what a batch is
    stays as it is defined.  spent: the seconds that the halves took
    """

    def __init__(self, whole: Criterion, available: int) -> None:
        """available: how many training images there are"""
        self.whole, self.parts = whole, (deepcopy(whole), deepcopy(whole))
        self.name, self.needs, self.tap, self.maps = whole.name, whole.needs, whole.tap, whole.maps
        self.images, self.batch = whole.images, min(2 * whole.batch, whole.images, available)
        self.spent = 0.0

    def update(self, layer: str, activation: Tensor, gradient: Tensor | None) -> None:
        """Shows both batches to the whole, and one to each half."""
        middle = (len(activation) + 1) // 2
        for part, batch in zip(self.parts, (slice(middle), slice(middle, None)), strict=True):
            values = activation[batch], None if gradient is None else gradient[batch]
            if len(values[0]):
                self.whole.update(layer, *values)
                start = time.perf_counter()
                part.update(layer, *values)
                self.spent += time.perf_counter() - start

    def scores(self, filters: Filters) -> Tensor:
        """Those of all images."""
        return self.whole.scores(filters)


@dataclass(frozen=True, eq=False)
class Yardstick:
    """A traced network, its training images, and what is scored on it."""

    dissection: Dissection
    training: Training
    targets: Sequence[Target]
    seed: int

    def scored(self, given: Given) -> Scored:
        """What a criterion says of the targets, and how long that takes.

        Raises LesionError for a criterion that there is not.
        """
        chosen = criterion(given)
        start = time.perf_counter()
        if isinstance(chosen, Weights):
            scores, reasons = self._scores(Scorer(self.dissection, chosen, self.seed))
            seconds = time.perf_counter() - start
            return Scored(chosen.name, chosen.needs, scores, (), reasons, seconds)
        halved = Halved(chosen, len(self.training.images))
        try:
            unseen = shown(halved, self.dissection, self.training, self.targets, self.seed)
        except LesionError as error:  # it fits none
            reasons = {target.key: str(error) for target in self.targets}
            seconds = time.perf_counter() - start
            return Scored(chosen.name, chosen.needs, {}, (), reasons, seconds)
        scorer = partial(Scorer, self.dissection, seed=self.seed, reasons=unseen)
        scores, reasons = self._scores(scorer(criterion=chosen))
        seconds = time.perf_counter() - start - halved.spent
        halves = [self._scores(scorer(criterion=part))[0] for part in halved.parts]
        return Scored(chosen.name, chosen.needs, scores, halves, reasons, seconds)

    def _scores(self, scorer: Scorer) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        """By the targets' keys the scores, and the reasons of those that have none."""
        scores, reasons = dict[str, np.ndarray](), dict[str, str]()
        for target in self.targets:
            try:
                scores[target.key] = scorer.scores(target)
            except LesionError as error:
                reasons[target.key] = str(error)
        return scores, reasons


def criteria(
    network: nn.Module,
    data: Any,
    train: Any,
    *,
    criteria: Sequence[Given] = (),
    images: int | None = None,
    units: str = "free",
    layers: Sequence[str] = (),
    confidence: float = 95,
    seed: int = 0,
    device: str | None = None,
    adapter: Adapter | None = None,
    progress: Progress = _quiet,
) -> Agreement:
    """How criteria rank channels beside the oracle, the measured loss without each of them.

    network, data: as for `lesion.sweep`; no image of the data takes part; train: training images,
        none of them among the data, which criteria and oracle see
    criteria: names, functions or objects; none for all that there are by name
    images: on how many training images the oracle is measured, by default 256, a replay a channel
        and image
    units, layers: which channels, see `lesion.lesions.targets.targets`; seed: of the images' order
        and of criteria that draw; confidence: of the intervals, in per cent
    progress: called with the name of each criterion that is done, and the seconds that it took

    The protocol of Molchanov et al. 2017 (table 1): Spearman's rank correlation of a criterion's
    scores with the oracle's, layer by layer and over the channels of all layers, there with the
    scores as they are and with each layer's divided by their Euclidean norm.  The interval is of
    the mean over layers, by resampling layers, see `lesion.lesions.agreement.interval`.  How far a
    criterion depends on which images it sees is the correlation of its scores by two disjoint
    halves of them; where the oracle's own is low, no criterion can agree with it.

    Raises LesionError where there is no such criterion, or no channel that can be removed alone,
    and SubjectError where training images are among the data.
    """
    with placed(network, device):
        subject = Subject.of(network, data, adapter=adapter, score="agreement", train=train)
        return compared(
            subject,
            criteria,
            images,
            Choices(units=units, layers=layers, seed=seed),
            confidence,
            progress,
        )


def compared(
    subject: Subject,
    criteria: Sequence[Given] = (),
    images: int | None = None,
    choices: Choices | None = None,
    confidence: float = 95,
    progress: Progress = _quiet,
) -> Agreement:
    """The same of a subject with training images.

    choices: of which units, layers and seed count
    """
    choices = choices or Choices()
    choices.check()
    Aim(confidence=confidence).check()
    yard = ORACLE if images is None else f"{ORACLE}:images={images}"
    given = (yard, *(criteria or (name for name in names() if name != ORACLE)))
    chosen = {criterion(each).name: each for each in given}  # refused before any work
    training = Training.of(subject, "criteria")
    dissection = Opening(subject)().dissection
    training.shun(np.concatenate([*read(subject, list(range(len(subject.images))))]))
    targets, _ = choices.kind.targets(dissection.anatomy, choices.units, choices.layers)
    yardstick = Yardstick(dissection, training, targets, choices.seed)
    every: list[Scored] = []
    for each in chosen.values():
        every.append(yardstick.scored(each))
        _check(every[0], targets)
        progress(every[-1].name, every[-1].seconds)
    oracle = every[0]
    cells = by_layer(every, oracle, {target.key: (target.name, target.kind) for target in targets})
    members = dict.fromkeys(name for target in targets for name in _members(dissection, target))
    seen = min(IMAGES if images is None else images, len(training.images))
    return Agreement(
        by_criterion(every, oracle, cells, confidence),
        cells,
        norm_conditions(dissection, members),
        oracle.name,
        seen,
        confidence,
    )


def _check(oracle: Scored, what: Sequence[Target]) -> None:
    """Raises LesionError where no channel was removed."""
    if oracle.scores:
        return
    if not what:
        raise LesionError(
            "Expected layers whose channels can be removed, got none; choose other layers or units."
        )
    raise LesionError(
        "Expected layers whose channels can be removed one by one, got none: "
        f"{what[0].name}: {oracle.reasons[what[0].key]}; choose other layers or units."
    )


def _members(dissection: Dissection, target: Target) -> Sequence[str]:
    """The layers whose filters make a target's channels."""
    if target.kind in ("branch", "layer"):
        return (target.name,)
    return dissection.anatomy.unit[target.name].layers
