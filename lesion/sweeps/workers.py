"""Workers opened: from a subject to its traced network, the engine for it, and batches that fit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lesion.engine.base import Batches, Engine
from lesion.engine.memory import SHARE, free
from lesion.engine.mended import recovering
from lesion.engine.replay import Replay
from lesion.engine.retrain import Recover
from lesion.engine.whole import Whole
from lesion.errors import LesionError, SubjectError
from lesion.lesions.edits import Edit
from lesion.network.dissect import dissect
from lesion.network.dissection import Dissection
from lesion.network.last_operation import check_ending
from lesion.subject.batch import cloned, describe, moved
from lesion.subject.network import device_of, evaluating
from lesion.subject.snapshot import unchanged
from lesion.subject.subject import Subject
from lesion.subject.weights import fingerprint
from lesion.sweeps.measure import Worker
from lesion.sweeps.work import CHUNK, TOGETHER

SAME, CLOSE = 1e-4, 1e-2  # of the outputs' scale: float32 sums in another order; fewer digits
FASTEST = {"cpu": 32}  # images at once where more would fit: these stay in the cache


@dataclass(frozen=True, eq=False)
class Opening:
    """Opens a worker, here or in another process: it can be pickled where its subject can.

    subject: what is measured, or what gives it where it is opened
    recovery: what edited networks go through, see `lesion.engine.recovery.parse`; memory: bytes to
        use, None for half of what is free
    edits, images: one edit a target where lesions come back to some of so many images, else none
    avoid: digests of images that may not take part in a recovery
    weights: the fingerprint of the network that has to be there, "" for any; beside: how many
        workers share what is free
    """

    subject: Subject | Callable[[], Subject]
    recovery: str | Recover = ""
    memory: int | None = None
    edits: Sequence[Edit] = ()
    images: int = 0
    avoid: np.ndarray | None = None
    weights: str = ""
    beside: int = 1

    def sharing(self, workers: int) -> "Opening":
        """The same for one of so many workers on a machine."""
        return replace(self, beside=workers)

    def __call__(self) -> Worker:
        """The worker.

        Raises SubjectError where the network cannot be measured, LesionError for a recovery that
        cannot be.
        """
        subject = self.subject if isinstance(self.subject, Subject) else self.subject()
        if self.weights and fingerprint(subject.network) != self.weights:
            raise SubjectError(
                "Expected the network that the study measures, but the one that a worker opened "
                "has other weights; make what it is named by give the same everywhere."
            )
        room = self.room(subject)
        with evaluating(subject.network):
            dissection = dissect(subject.network, subject.outputs, example_of(subject))
            engine = engine_for(subject, dissection)
            if self.recovery:
                engine = recovering(engine, subject, self.recovery, room)
        worker = Worker(subject, dissection, engine, Batches(1, 1))
        self.fit(worker)
        return worker

    def fit(self, worker: Worker) -> None:
        """Fits a worker that is open already to what is to be measured."""
        room = self.room(worker.subject)
        fastest = FASTEST.get(device_of(worker.subject.network).type, CHUNK)
        if self.edits:
            images = replace(worker.subject.images, room=room // 8)
            worker.subject = replace(worker.subject, images=images)
            most = Batches(fastest, TOGETHER)
            worker.batches = worker.engine.fit_again(self.edits, self.images, most, room)
        else:
            size = worker.engine.fit(fastest, room)
            worker.batches = Batches(size, size)
        if self.avoid is not None:
            worker.engine.avoid(self.avoid)

    def room(self, subject: Subject) -> int:
        """How many bytes it may use."""
        return self.memory or int(SHARE * free(device_of(subject.network))) // self.beside


def check_train(subject: Subject, seen: bool) -> None:
    """Raises LesionError for training images that nothing sees."""
    if subject.train is not None and not seen:
        raise LesionError(
            "Expected a recovery for the training images, got none; give recover=… "
            "(--recover bn), or leave the images out."
        )


def example_of(subject: Subject) -> Any:
    """The first images, where the network is."""
    return moved(subject.example, device_of(subject.network))


@torch.no_grad()
def engine_for(subject: Subject, dissection: Dissection) -> Engine:
    """Replay where it gives what the network gives, whole passes otherwise."""
    example = example_of(subject)
    with unchanged(subject.network):
        outputs = subject.outputs(subject.network, cloned(example))
    if subject.classes:
        check_ending(subject.score, dissection.graph, outputs.shape[1])
    if dissection.anatomy.whole:
        return Whole(dissection)
    fewer = outputs.device.type != "cpu" or outputs.dtype not in (torch.float32, torch.float64)
    tensors = dissection.call.tensors(example)
    for fold in (True, False) if fewer else (True,):  # unfolded, values are rounded as they were
        engine = Replay(dissection, fold=fold)
        ((_, replayed),) = engine.run(tensors, {})
        difference = float((outputs.double() - replayed.double()).abs().max())
        if difference <= (CLOSE if fewer else SAME) * (float(outputs.abs().max()) or 1.0):
            return engine
    raise SubjectError(
        "Expected operations that give what the network gives, but on the first images the same "
        f"operations run one by one are off by {difference:.2g}: {_cause(outputs)}."
    )


def _cause(outputs: Tensor) -> str:
    if outputs.dtype in (torch.float16, torch.bfloat16):
        kind = describe(outputs).split()[0]
        return f"its outputs are rounded to {kind}, which is too coarse here; give network.float()"
    return "its forward depends on what no trace sees; make it depend on the images alone"
