"""Tasks and who measures them: some images, the intact network, and lesions on their own images."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic

import numpy as np
import torch

from lesion.engine.base import Batches, Cut, Engine, Name
from lesion.errors import SubjectError
from lesion.network.dissection import Dissection
from lesion.study.ledger import check_digests, check_scored
from lesion.subject.batch import moved
from lesion.subject.ground_truth import rows_of
from lesion.subject.images import digests
from lesion.subject.network import device_of, evaluating
from lesion.subject.outcomes import Intact, Outcomes
from lesion.subject.scores import Answers, joined
from lesion.subject.subject import Subject

NOT_FINITE = "its outputs are not finite (NaN or infinity)"


@dataclass(frozen=True, eq=False)
class Task(Generic[Name]):
    """Images to read at once, and what is to be measured on them; it can be pickled.

    images: their numbers in the data; positions: where they stand in the study's order, rising
    cuts: for each lesion its edit, and on which of the images
    known: the intact network's predictions, None where it has to run too
    recorded: what is recorded of the images, which have to be the same; again: whether the intact
        network runs once more, to be scored as recorded
    """

    images: Sequence[int]
    positions: np.ndarray
    cuts: Mapping[Name, Cut]
    known: np.ndarray | None = None
    recorded: Intact | None = None
    again: bool = False


@dataclass(frozen=True, eq=False)
class Measured(Generic[Name]):
    """What a task gave; `failed` are the lesions that cannot be measured, with the reason.

    intact: the intact network's rows, None where they were known
    """

    intact: Intact | None
    outcomes: dict[Name, Outcomes]
    failed: dict[Name, str]


@dataclass(eq=False)
class Worker:
    """A subject taken apart and ready to be cut: measures tasks on its images.

    batches: how many images run at once
    over: asked after each replay whether to stop: then a task gives what was measured so far, of
        each lesion the first of its images, and of the intact network all that go with these
    """

    subject: Subject
    dissection: Dissection
    engine: Engine
    batches: Batches
    over: Callable[[], bool] = field(default=lambda: False, repr=False)

    @torch.no_grad()
    def __call__(self, tasks: Sequence[Task[Name]]) -> Iterator[Measured[Name]]:
        """The outcomes of each task, in their order.

        Raises StudyError where its images, or the intact network's scores, are not as recorded,
        and SubjectError where that network's outputs are not finite.
        """
        plan = [task.images for task in tasks]
        with evaluating(self.subject.network):
            for task, images in zip(tasks, self.subject.images.batches(plan), strict=True):
                self._check(task, images)
                yield self.measure(task, images)

    def _check(self, task: Task[Name], images: Any) -> None:
        """Raises StudyError where images or scores are not as recorded."""
        if task.recorded is None:
            return
        seen = digests(images, len(task.images))
        check_digests(task.recorded.digest, seen, task.positions)
        if task.again:
            fresh = self.measure(replace(task, cuts={}, known=None), images)
            assert fresh.intact is not None
            check_scored(task.recorded.take(slice(len(fresh.intact))), fresh.intact)

    def measure(self, task: Task[Name], images: Any) -> Measured[Name]:
        """The outcomes of a task, whose collated images these are."""
        parts = _Parts(self, task, images)
        answers: dict[Name | None, list[Answers]] = {}
        for name, part in parts.answers():
            answers.setdefault(name, []).append(part)
        return self._scored(task, images, answers)

    def _scored(
        self, task: Task[Name], images: Any, answers: dict[Name | None, list[Answers]]
    ) -> Measured[Name]:
        """What answers of parts of a task's images are worth."""
        tally, positions, intact = self.subject.tally, task.positions, None
        if task.known is None:
            base = joined(answers.pop(None))
            count = len(base["finite"])
            seen = digests(images, len(positions))[:count]
            intact = tally.intact(_finite(base), positions[:count], seen)
        else:
            base = {"prediction": task.known}
        measured: Measured[Name] = Measured(intact, {}, {})
        for name, parts in answers.items():
            assert name is not None
            lesioned, rows = joined(parts), task.cuts[name].rows
            if not lesioned["finite"].all():
                measured.failed[name] = NOT_FINITE
                continue
            count = len(lesioned["finite"])
            places = slice(count) if rows is None else rows[:count]
            baseline = {column: values[places] for column, values in base.items()}
            measured.outcomes[name] = tally.outcomes(lesioned, positions[places], baseline)
        return measured


class _Parts(Generic[Name]):
    """A task's images on their way through the engine, some of them at a time."""

    def __init__(self, worker: Worker, task: Task[Name], images: Any) -> None:
        self.worker, self.task, self.subject = worker, task, worker.subject
        self.targets = self.subject.targets(images)
        device = device_of(self.subject.network)
        self.tensors = worker.dissection.call.tensors(moved(images, device))

    def answers(self) -> Iterator[tuple[Name | None, Answers]]:
        """What is kept of the outputs, part by part, as far as `over` lets it come."""
        images, intact = len(self.task.positions), self.task.known is None
        batches = self.worker.batches
        size = batches.first if intact else batches.later
        for start in range(0, images, size):
            part = range(start, min(start + size, images))
            over = False
            for name, answers in self._run(part, self.task.cuts, intact):
                yield name, answers
                over = self.worker.over()
                if over:
                    break
            if over:
                if intact and name is not None:
                    yield from self._run(part, {}, True)
                return

    def _run(
        self, part: range, cuts: Mapping[Name, Cut], intact: bool
    ) -> Iterator[tuple[Name | None, Answers]]:
        """What is kept of each cut's outputs on a part of the images."""
        images, tally, engine = len(self.task.positions), self.subject.tally, self.worker.engine
        among = {name: cut for name, full in cuts.items() if (cut := full.within(part)).any}
        chosen = slice(part.start, part.stop)
        tensors = [t[chosen] if t.dim() and len(t) == images else t for t in self.tensors]
        reference = None
        if tally.beside:
            nothing: dict[Name, Cut] = {}
            ((_, reference),) = engine.run(tensors, nothing, True)
        for name, outputs in engine.run(tensors, among, intact, self.task.positions[chosen]):
            rows = None if name is None else among[name].rows
            places = np.arange(len(part)) if rows is None else rows
            targets = moved(rows_of(self.targets, places + part.start, images), outputs.device)
            known = reference if reference is None or rows is None else reference[rows]
            answers = tally.answers(outputs, targets, known)
            if name is None:
                answers["margin"] = tally.margin(outputs, targets)
            yield name, answers


def _finite(base: Answers) -> Answers:
    if not base["finite"].all():
        raise SubjectError(
            f"Expected finite outputs of the intact network, but {NOT_FINITE}; "
            "check the weights, the preprocessing and the images."
        )
    return base
