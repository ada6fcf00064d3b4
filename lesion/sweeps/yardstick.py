"""Criteria held against the oracle: which of them rank channels as their measured removal does."""

import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
from torch import Tensor, nn

from lesion.errors import LesionError, SubjectError
from lesion.lesions.agreement import Agreement, Scored, by_criterion, by_layer
from lesion.lesions.criteria import (
    Criterion,
    Given,
    GroupCriterion,
    Observing,
    Weights,
    criterion,
    names,
)
from lesion.lesions.lesion import Target
from lesion.lesions.norm_conditions import norm_conditions
from lesion.lesions.scores import Scorer
from lesion.network.dissection import Dissection
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
Seeing = TypeVar("Seeing", Criterion, GroupCriterion)
Progress = Callable[[str, float], None]


def _quiet(name: str, seconds: float) -> None:
    """Says nothing of a criterion that is done."""


class Halved(Observing, Generic[Seeing]):
    """What sees its images in pairs of batches, and the same on each half of them.

    The first batch of each pair is shown to one half, the second to the other: what a batch is
    stays as it is defined.  spent: the seconds that the halves took
    """

    def __init__(self, whole: Seeing, available: int) -> None:
        """available: how many training images there are"""
        self.whole: Seeing = whole
        self.parts: tuple[Seeing, Seeing] = deepcopy(whole), deepcopy(whole)
        self.name, self.images = whole.name, whole.images
        self.batch = min(2 * whole.batch, whole.images, available)
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


class HalvedLayers(Halved[Criterion], Criterion):
    """Of a criterion of what layers give."""

    def __init__(self, whole: Criterion, available: int) -> None:
        super().__init__(whole, available)
        self.needs, self.tap, self.maps = whole.needs, whole.tap, whole.maps


class HalvedGroups(Halved[GroupCriterion], GroupCriterion):
    """Of a criterion of all that belongs to channels."""

    def __init__(self, whole: GroupCriterion, available: int) -> None:
        super().__init__(whole, available)
        self.needs, self.outputs = whole.needs, whole.outputs


@dataclass(frozen=True, eq=False)
class Yardstick:
    """A traced network, its training images, and what is scored on it."""

    subject: Subject
    dissection: Dissection
    training: Training
    targets: Sequence[Target]
    seed: int

    @classmethod
    def of(cls, subject: Subject, choices: Choices) -> "Yardstick":
        """choices: of which units, layers and seed count

        Raises LesionError without training images, or channels to be removed.
        """
        choices.check()
        training = Training.of(subject, "criteria")
        dissection = Opening(subject)().dissection
        training.shun(np.concatenate([*read(subject, list(range(len(subject.images))))]))
        anatomy = dissection.anatomy
        targets, tied = choices.kind.targets(anatomy, choices.units, choices.layers)
        if not targets:
            why = f": {tied[0].target}: {tied[0].reason}" if tied else ""
            raise LesionError(
                f"Expected layers whose channels can be removed, got none{why}; choose other "
                "layers or units."
            )
        return cls(subject, dissection, training, targets, choices.seed)

    def scored(self, given: Given) -> Scored:
        """What a criterion says of the targets, and how long that takes.

        Raises LesionError for a criterion that there is not, SubjectError for training images that
        are scored or cannot be read.
        """
        chosen = criterion(given)
        start = time.perf_counter()
        if isinstance(chosen, Weights) or chosen.needs == "weights":
            scores, reasons = self._scores(Scorer(self.dissection, chosen, self.seed))
            seconds = time.perf_counter() - start
            return Scored(chosen.name, chosen.needs, 0, scores, (), reasons, seconds)
        available = len(self.training.images)
        halved: HalvedGroups | HalvedLayers
        if isinstance(chosen, GroupCriterion):
            halved = HalvedGroups(chosen, available)
        else:
            halved = HalvedLayers(chosen, available)
        images = self.training.count(halved.batch, halved.images)
        try:
            unseen = shown(
                halved, self.subject, self.dissection, self.training, self.targets, self.seed
            )
        except SubjectError:  # such as images that are scored
            raise
        except LesionError as error:  # it fits none
            reasons = {target.key: str(error) for target in self.targets}
            seconds = time.perf_counter() - start
            return Scored(chosen.name, chosen.needs, images, {}, (), reasons, seconds)
        scorer = partial(Scorer, self.dissection, seed=self.seed, reasons=unseen)
        scores, reasons = self._scores(scorer(criterion=chosen))
        seconds = time.perf_counter() - start - halved.spent
        halves = [self._scores(scorer(criterion=part))[0] for part in halved.parts]
        return Scored(chosen.name, chosen.needs, images, scores, halves, reasons, seconds)

    def agreement(self, every: Sequence[Scored], confidence: float = 95) -> Agreement:
        """How criteria agree with the first of them, the oracle.

        Raises LesionError where that has removed no channel.
        """
        oracle = every[0]
        if not oracle.scores:
            target = self.targets[0]
            raise LesionError(
                "Expected layers whose channels can be removed one by one, got none: "
                f"{target.name}: {oracle.reasons[target.key]}; choose other layers or units."
            )
        names = {target.key: (target.name, target.kind) for target in self.targets}
        cells = by_layer(every, oracle, names)
        members = dict.fromkeys(name for target in self.targets for name in self._members(target))
        return Agreement(
            by_criterion(every, oracle, cells, confidence),
            cells,
            norm_conditions(self.dissection, members),
            oracle.name,
            oracle.images,
            confidence,
        )

    def _members(self, target: Target) -> Sequence[str]:
        """The layers whose filters make a target's channels."""
        if target.kind in ("branch", "layer"):
            return (target.name,)
        return self.dissection.anatomy.unit[target.name].layers

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
    *,
    train: Any = None,
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
    images: on how many training images the oracle is measured, by default 512, a replay a channel
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
    Aim(confidence=confidence).check()
    yard = ORACLE if images is None else f"{ORACLE}:images={images}"
    given = (yard, *(criteria or (name for name in names() if name != ORACLE)))
    chosen = {criterion(each).name: each for each in given}  # refused before any work
    yardstick = Yardstick.of(subject, choices or Choices())
    every: list[Scored] = []
    for each in chosen.values():
        every.append(yardstick.scored(each))
        progress(every[-1].name, every[-1].seconds)
    return yardstick.agreement(every, confidence)
