"""What a sweep would take, before anything is measured."""

import time
from dataclasses import dataclass

import torch

from lesion.engine.base import Cut
from lesion.lesions.lesion import Lesion
from lesion.network.cost import cost
from lesion.study.decisions import least_images
from lesion.subject.batch import moved
from lesion.subject.network import device_of, evaluating
from lesion.sweeps.goals import Decide
from lesion.sweeps.loop import Sweep
from lesion.sweeps.measure import Worker

FLOORS = 6  # a layer's boundary takes about so many times the images of the least possible verdict


@dataclass(frozen=True)
class Outlook:
    """Layers, lesions, images; what whole passes, replay and stopping early would take.

    macs: of one intact pass; passes: lesioned answers of the full sweep, and about how many it
    takes to decide (None where the goal is another); seconds: measured on a batch, for the full
    sweep by whole passes, by replay, and for deciding
    """

    targets: int
    lesions: int
    images: int
    macs: int
    passes: int
    deciding: int | None
    plain_seconds: float
    full_seconds: float
    deciding_seconds: float | None


@torch.no_grad()
def outlook(ready: Sweep) -> Outlook:
    """What the sweep would take on this machine; runs a batch or two, records nothing.

    Deciding is a guess from experience: a boundary between safe and sensitive takes about six
    times the images below which nothing can be called safe.
    """
    targets = {lesion.at for lesion in ready.lesions}
    passes = len(ready.lesions) * ready.images
    whole, replayed = _seconds(ready)
    deciding = None
    if isinstance(ready.goal, Decide):
        least = least_images(ready.study, ready.goal.aim, ready.images) or ready.images
        per_target = len(ready.lesions) / max(len(targets), 1) * ready.images
        deciding = int(len(targets) * min(FLOORS * least, per_target))
    share = replayed / whole if whole else 0.0
    first = ready.images * whole
    return Outlook(
        len(targets), len(ready.lesions), ready.images, cost(ready.study.anatomy).macs, passes,
        deciding, passes * whole, first + passes * whole * share,
        None if deciding is None else first + deciding * whole * share,
    )  # fmt: skip


def _seconds(ready: Sweep) -> tuple[float, float]:
    """Seconds of a whole pass and of a mean replay, for one image, timed on a batch."""
    worker = ready.worker
    count = min(worker.batches.first, ready.images)
    batch = moved(
        worker.subject.images.batch(ready.study.header.order[:count]),
        device_of(worker.subject.network),
    )
    tensors = worker.dissection.call.tensors(batch)
    of_target = {lesion.at: lesion for lesion in ready.lesions}
    cuts = {lesion: Cut(ready.lesions[lesion]) for lesion in of_target.values()}
    _timed(worker, tensors, {})  # the first pass also warms up
    whole = _timed(worker, tensors, {})
    every = _timed(worker, tensors, cuts) if worker.engine.replays else whole * len(cuts)
    return whole / count, max(every - whole, 0.0) / max(len(cuts), 1) / count


def _timed(worker: Worker, tensors: tuple[torch.Tensor, ...], cuts: dict[Lesion, Cut]) -> float:
    start = time.perf_counter()
    with evaluating(worker.subject.network):
        for _, outputs in worker.engine.run(tensors, cuts):
            float(outputs.reshape(-1)[0])  # waits for the device
    return time.perf_counter() - start
