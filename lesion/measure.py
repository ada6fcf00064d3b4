"""One batch of images measured: each lesion on its own of them, and the intact network."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic

import numpy as np
import torch
from torch import Tensor

from lesion.adapter import moved
from lesion.engine import Cutting, Engine, One
from lesion.errors import SubjectError
from lesion.ground_truth import rows_of
from lesion.images import digests
from lesion.outcomes import Intact, Outcomes
from lesion.subject import Subject, device_of
from lesion.tally import Answers, joined
from lesion.tracing import Call

NOT_FINITE = "its outputs are not finite (NaN or infinity)"


@dataclass(frozen=True, eq=False)
class Measured(Generic[One]):
    """What a batch gave; `failed` are the lesions that cannot be measured, with the reason.

    intact: the intact network's rows, None where they were known
    """

    intact: Intact | None
    outcomes: dict[One, Outcomes]
    failed: dict[One, str]


@torch.no_grad()
def measure(
    engine: Engine,
    call: Call,
    subject: Subject,
    images: Any,
    positions: np.ndarray,
    cuts: Mapping[One, Cutting],
    known: np.ndarray | None,
    batch: int,
    over: Callable[[], bool] = lambda: False,
) -> Measured[One]:
    """The outcomes of one collated batch, run `batch` images at a time.

    positions: where its images stand in the study's order, rising; cuts: for each lesion what
    falls and on which of the images; known: the intact network's predictions, None where it has
    to run too; over: asked after each run whether to stop: then there is what was measured so far,
    of each lesion the first of its images, and of the intact network all that go with these.
    Raises SubjectError where the intact network's own outputs are not finite.
    """
    tally = subject.tally
    targets = subject.targets(images)
    tensors = call.tensors(moved(images, device_of(subject.network)))
    found: dict[One | None, list[Answers]] = {}
    for part, now in _parts(tensors, len(positions), batch):
        run = partial(_answers, engine, subject, part, targets, now, positions)
        if _stopped(run, found, cuts, known is None, over):
            break
    own = joined(found.pop(None)) if known is None else {"prediction": known}
    intact = None
    if known is None:
        seen = len(own["finite"])
        own_digests = digests(images, len(positions))[:seen]
        intact = tally.intact(_finite(own), positions[:seen], own_digests)
    measured: Measured[One] = Measured(intact, {}, {})
    for lesion, parts in found.items():
        assert lesion is not None
        answers, chosen = joined(parts), cuts[lesion].rows
        if not answers["finite"].all():
            measured.failed[lesion] = NOT_FINITE
            continue
        count = len(answers["finite"])
        rows = slice(count) if chosen is None else chosen[:count]
        there = {name: value[rows] for name, value in own.items()}
        measured.outcomes[lesion] = tally.outcomes(answers, positions[rows], there)
    return measured


def _stopped(
    run: Callable[[Mapping[One, Cutting], bool], Iterator[tuple[One | None, Answers]]],
    found: dict[One | None, list[Answers]], cuts: Mapping[One, Cutting], intact: bool,
    over: Callable[[], bool],
) -> bool:  # fmt: skip
    """Adds the answers of some images; whether it was over before all lesions had run."""
    for lesion, answers in run(cuts, intact):
        found.setdefault(lesion, []).append(answers)
        if over():
            if intact and lesion is not None:
                found.setdefault(None, []).extend(own for _, own in run({}, True))
            return True
    return False


def _answers(
    engine: Engine, subject: Subject, tensors: Sequence[Tensor], targets: Any, now: range,
    positions: np.ndarray, cuts: Mapping[One, Cutting], intact: bool,
) -> Iterator[tuple[One | None, Answers]]:  # fmt: skip
    """What is kept of each lesion's outputs on the images `now` of the batch."""
    here = {lesion: found for lesion, cut in cuts.items() if (found := cut.within(now)).some}
    beside = None
    if subject.tally.beside:
        ((_, beside),) = engine.run(tensors, {}, True)
    keys = positions[now.start : now.stop]
    for lesion, outputs in engine.run(tensors, here, intact, keys):
        rows = None if lesion is None else here[lesion].rows
        own = np.arange(len(now)) if rows is None else rows
        there = moved(rows_of(targets, own + now.start, len(positions)), outputs.device)
        reference = beside if beside is None or rows is None else beside[rows]
        answers = subject.tally.answers(outputs, there, reference)
        if lesion is None:
            answers["margin"] = subject.tally.margin(outputs, there)
        yield lesion, answers


def _finite(own: Answers) -> Answers:
    if not own["finite"].all():
        raise SubjectError(
            f"Expected finite outputs of the intact network, but {NOT_FINITE}; "
            "check the weights, the preprocessing and the images."
        )
    return own


def _parts(
    tensors: Sequence[Tensor], images: int, batch: int
) -> Iterator[tuple[tuple[Tensor, ...], range]]:
    """Tensors `batch` images at a time, and which; those without an image axis as they are."""
    for start in range(0, images, batch):
        now = range(start, min(start + batch, images))
        cut = slice(now.start, now.stop)
        yield tuple(t[cut] if t.dim() and len(t) == images else t for t in tensors), now
