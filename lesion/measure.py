"""One chunk of images measured: outcomes of every lesion, and of the intact network."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lesion.adapter import moved
from lesion.engine import Engine
from lesion.errors import SubjectError
from lesion.outcomes import Intact, Outcomes
from lesion.plan import Lesion
from lesion.subject import Subject, device_of
from lesion.tally import Answer, intact, margins
from lesion.tracing import Call

NOT_FINITE = "its outputs are not finite (NaN or infinity)"


@dataclass(frozen=True, eq=False)
class Measured:
    """What a chunk gave; `failed` are the lesions that cannot be measured, with the reason."""

    intact: Intact
    outcomes: dict[Lesion, Outcomes]
    failed: dict[Lesion, str]


@torch.no_grad()
def measure(
    engine: Engine,
    call: Call,
    subject: Subject,
    images: Any,
    dropped: Mapping[Lesion, np.ndarray],
    batch: int,
) -> Measured:
    """The outcomes of one collated chunk, `batch` images at a time.

    Raises SubjectError where the intact network's own outputs are not finite.
    """
    labels = subject.targets(images)
    tensors = call.tensors(moved(images, device_of(subject.network)))
    answers: dict[Lesion | None, list[Answer]] = {}
    margin: list[np.ndarray] = []
    for part, own in _parts(tensors, labels, batch):
        for lesion, logits in engine.run(part, dropped):
            there = own.to(logits.device)
            answers.setdefault(lesion, []).append(Answer.of(logits, there))
            if lesion is None:
                margin.append(margins(logits, there))
    joined = {lesion: Answer.join(parts) for lesion, parts in answers.items()}
    return _scored(joined, labels.cpu().numpy(), np.concatenate(margin))


def _scored(
    answers: dict[Lesion | None, Answer], labels: np.ndarray, margin: np.ndarray
) -> Measured:
    own = answers.pop(None)
    if not own.finite:
        raise SubjectError(
            f"Expected finite outputs of the intact network, but {NOT_FINITE}; "
            "check the weights, the preprocessing and the images."
        )
    measured = Measured(intact(own, labels, margin), {}, {})
    for lesion, answer in answers.items():
        assert lesion is not None
        if answer.finite:
            measured.outcomes[lesion] = answer.outcomes(labels, own.prediction)
        else:
            measured.failed[lesion] = NOT_FINITE
    return measured


def _parts(
    tensors: Sequence[Tensor], labels: Tensor, batch: int
) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
    """Tensors and labels, `batch` images at a time; tensors without an image axis as they are."""
    images = len(labels)
    for start in range(0, images, batch):
        now = slice(start, start + batch)
        yield tuple(t[now] if t.dim() and len(t) == images else t for t in tensors), labels[now]
