"""How the loss rises when single channels are removed, for criteria that need it measured."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lesion.engine.base import Batches, Cut, Engine
from lesion.engine.whole import rows_of
from lesion.errors import LesionError
from lesion.lesions.criteria import Criterion, GroupCriterion
from lesion.lesions.edits import Edit
from lesion.lesions.lesion import Target
from lesion.lesions.ratios import labels_of
from lesion.network.anatomy import Anatomy
from lesion.network.dissection import Dissection
from lesion.network.program import compile_program
from lesion.subject.network import evaluating
from lesion.subject.scores import two_classes
from lesion.subject.subject import Subject
from lesion.subject.training_images import Training
from lesion.sweeps.contributions import Contributions
from lesion.sweeps.measure import NOT_FINITE, Worker
from lesion.sweeps.observe import Observer, check_classes, labels
from lesion.sweeps.workers import Opening, engine_for

AT_ONCE = 1024  # channels whose edits are in memory


@dataclass(frozen=True)
class Channel:
    """One channel of a target, removed alone.

    target: as it is scored, and its place among the scores; at: what is cut; label: what falls
    """

    target: Target
    place: int
    at: Target
    label: int
    seed: int = 0

    @property
    def key(self) -> str:
        """A text that names it."""
        return f"{self.target.key}/{self.place}"


@dataclass(frozen=True, eq=False)
class Removals:
    """Shows a criterion by how much each image's loss rises without each single channel.

    channels: those that can be removed, target by target in the order of their scores; size: how
        many images run at once; read: places of the tensors that the network reads
    reasons: of the targets whose channels cannot, by their keys, why
    """

    criterion: Criterion
    training: Training
    engine: Engine
    channels: Sequence[Channel]
    size: int
    read: Collection[int]
    reasons: dict[str, str]

    @classmethod
    def of(
        cls,
        subject: Subject,
        dissection: Dissection,
        criterion: Criterion,
        training: Training,
        targets: Sequence[Target],
    ) -> "Removals":
        """Raises LesionError where there is no loss."""
        check_classes(criterion, training)
        with evaluating(subject.network):
            engine = engine_for(subject, dissection)
        worker = Worker(subject, dissection, engine, Batches(1, 1))
        Opening(subject).fit(worker)
        channels, reasons = list[Channel](), dict[str, str]()
        for target in targets:
            try:
                channels += _channels(engine, target)
            except LesionError as error:
                reasons[target.key] = str(error)
        read = compile_program(dissection.graph, fold=False).read
        return cls(criterion, training, engine, channels, worker.batches.first, read, reasons)

    @torch.no_grad()
    def observe(self, seed: int) -> None:
        """Lets the criterion see its images, the first of the training images' seeded order."""
        images, batch = self.criterion.images, self.criterion.batch
        with evaluating(self.training.subject.network):
            for together in self.training.epoch(seed, 0, batch, images):
                self._see(together)

    def _see(self, images: Any) -> None:
        """Shows the criterion one batch."""
        tensors = self.engine.dissection.call.inputs(images, self.read)
        places = np.arange(len(tensors[0]))
        parts = np.split(places, places[self.size :: self.size])
        intact = torch.cat([self._intact(rows_of(tensors, rows)) for rows in parts])
        targets = labels(self.training, images, intact)
        base = _loss(intact, targets)
        rises: dict[Channel, list[Tensor]] = {channel: [] for channel in self.channels}
        for rows in parts:
            for channel, logits in self._without(rows_of(tensors, rows)):
                rises[channel].append(_loss(logits, targets[rows]) - base[rows])
        by_target: dict[Target, list[Tensor]] = {}
        for channel, of_parts in rises.items():
            by_target.setdefault(channel.target, []).append(torch.cat(of_parts))
        for target, each in by_target.items():
            values = torch.stack(each, 1).unsqueeze(2)
            if values.isfinite().all():
                self.criterion.update(target.key, values, None)
            else:
                self.reasons[target.key] = f"without one of its channels {NOT_FINITE}"

    def _without(self, tensors: Sequence[Tensor]) -> Iterator[tuple[Channel, Tensor]]:
        """The outputs without each channel."""
        for start in range(0, len(self.channels), AT_ONCE):
            channels = self.channels[start : start + AT_ONCE]
            cuts = {channel: Cut(_edit(self.engine, channel)) for channel in channels}
            for channel, outputs in self.engine.run(tensors, cuts, intact=False):
                assert channel is not None
                yield channel, outputs

    def _intact(self, tensors: Sequence[Tensor]) -> Tensor:
        """The intact network's logits."""
        nothing: dict[Channel, Cut] = {}
        ((_, logits),) = self.engine.run(tensors, nothing)
        return two_classes(logits)


def shown(
    criterion: Criterion | GroupCriterion,
    subject: Subject,
    dissection: Dissection,
    training: Training,
    targets: Sequence[Target],
    seed: int,
) -> dict[str, str]:
    """Lets a criterion see what it needs; the reasons of what it could not see, as a `Scorer` takes
    them.

    training: the subject's training images; targets: those to be scored
    """
    if isinstance(criterion, GroupCriterion):
        Contributions(dissection, criterion, training).observe(seed)
        return {}
    if criterion.needs == "removals":
        removals = Removals.of(subject, dissection, criterion, training, targets)
        removals.observe(seed)
        return removals.reasons
    observer = Observer.of(dissection, criterion, training)
    observer.observe(seed)
    return observer.reasons


def _channels(engine: Engine, target: Target) -> list[Channel]:
    """A target's channels. Raises LesionError where these cannot be removed exactly."""
    anatomy = engine.dissection.anatomy
    at = _removed(anatomy, target)
    every = enumerate(labels_of(anatomy, target))
    channels = [Channel(target, place, at, label) for place, label in every]
    first = _edit(engine, channels[0])  # all are cut at the same places
    if not first.nodes:
        raise LesionError("nothing reads its channels")
    if reason := engine.obstacle(first):
        raise LesionError(reason)
    return channels


def _edit(engine: Engine, channel: Channel) -> Edit:
    """The removal of a channel alone."""
    gone = np.arange(engine.dissection.anatomy.channels) == channel.label
    return engine.edit(channel.at, gone)


def _removed(anatomy: Anatomy, target: Target) -> Target:
    """What is removed where a target's channels go: a layer's unit, or its part in a sum."""
    if target.kind != "layer":
        return target
    layer = anatomy.layer[target.name]
    unit = anatomy.unit[layer.unit]
    if reason := unit.reason or (layer.branch if unit.kind == "coupled" else ""):
        raise LesionError(reason)
    return Target(unit.name, "free") if unit.kind == "free" else Target(layer.name, "branch")


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of each image."""
    return F.cross_entropy(two_classes(logits).double(), labels, reduction="none")
