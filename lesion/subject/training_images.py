"""Training images for networks that recover: in a seeded order, and never a scored one."""

import hashlib
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lesion.errors import LesionError, SubjectError
from lesion.subject.adapter import (
    Adapter,
    BatchAdapter,
    Leading,
    Output,
    Unlabelled,
    split,
    without_labels,
)
from lesion.subject.batch import cloned, moved
from lesion.subject.ground_truth import check_labels, class_numbers
from lesion.subject.images import Images, digests
from lesion.subject.network import device_of, try_out
from lesion.subject.scores import Given, two_classes
from lesion.subject.subject import EXAMPLE_IMAGES, Subject

BATCH = 128
FIRST = 32  # images by which one set is told from another


@dataclass(eq=False)
class Training:
    """The training images of a subject, read in a seeded order.

    subject: the network with the adapter for these images; steady: whether an image is the same at
    every read; identity: a text that tells them from others
    """

    subject: Subject
    images: Images
    steady: bool
    identity: str
    _scored: frozenset[int] = frozenset()
    _known: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, subject: Subject, asking: str, room: int = 0) -> "Training":
        """The training images of a subject; `room` is how many bytes of them may be kept.

        asking: what asks for them, such as "recovery by bn".  Raises LesionError where there are
        none, and SubjectError where the network cannot take them or they change from read to read
        though every random number starts anew.
        """
        images = subject.train
        if images is None:
            raise LesionError(
                f"Expected training images for {asking}, got none; give them with "
                "train=… (--train DATA), and none of those that are scored."
            )
        example = images.batch(range(min(EXAMPLE_IMAGES, len(images))))
        subject = replace(subject, adapter=_adapter(subject, example))
        try:
            try_out(subject.network, subject.adapter, example)
        except SubjectError as error:
            raise SubjectError(f"Of the training images: {error}") from error
        steady, identity = _read_twice(images)
        images = replace(images, room=room if steady else 0)
        return cls(subject, images, steady, f"{len(images)} images, {identity}")

    def shun(self, scored: np.ndarray) -> None:
        """From now on refuse images with these digests."""
        self._scored = frozenset(scored.tolist())
        self._known.clear()

    def epoch(
        self, seed: int, number: int = 0, size: int = BATCH, most: int | None = None
    ) -> Iterator[Any]:
        """Batches of equal size on the network's device: all images once, or the first `most`.

        The order is that of the seed and the epoch's number; a last batch that is not full is left
        out, unless it is the only one.  Raises SubjectError for an image that is scored.
        """
        numbers = np.random.default_rng([seed, number, 1])  # 1: no order that a study may have
        order = numbers.permutation(len(self.images))[:most]
        size = min(size, len(order))
        plan = order[: len(order) // size * size].reshape(-1, size).tolist()
        for indices, batch in zip(plan, self.images.batches(plan), strict=True):
            self._check(indices, batch)
            yield moved(batch, device_of(self.subject.network))

    def count(self, size: int, most: int) -> int:
        """How many images `epoch` gives of the first `most`, in batches of a size."""
        there = min(most, len(self.images))
        size = min(size, there)
        return there // size * size

    def outputs(self, network: nn.Module, batch: Any) -> Tensor:
        """What a copy of the subject's network gives a batch, as it is judged."""
        return self.subject.outputs(network, cloned(batch))

    def logits(self, outputs: Tensor) -> Tensor:
        """Outputs as a cross-entropy takes them: one logit stands beside a 0 for two classes."""
        return two_classes(outputs) if self.subject.classes else outputs

    def targets(self, batch: Any) -> Any:
        """The labels of a batch: class numbers (N,), or for a user's own score as they are.

        Raises SubjectError unless there is a class number among the network's outputs an image.
        """
        targets = self.subject.adapter.targets(batch)
        if not self.subject.classes:
            return targets
        labels = class_numbers(targets)
        check_labels(labels, self.subject.classes)
        return labels

    def _check(self, indices: list[int], batch: Any) -> None:
        if self.steady and self._known.issuperset(indices):
            return
        for guise in _guises(batch):
            hashes = digests(guise, len(indices)).tolist()
            for index, digest in zip(indices, hashes, strict=True):
                if digest in self._scored:
                    raise SubjectError(
                        f"Expected training images that are not scored, but image {index} of them "
                        "is among the study's evaluation images; give others with train=… "
                        "(--train DATA)."
                    )
        self._known.update(indices)


@dataclass(eq=False)
class Epochs(Iterable[Any]):
    """The training images batch by batch; each time they are gone through in another order."""

    training: Training
    seed: int
    _numbers: Iterator[int] = field(default_factory=count)

    def __iter__(self) -> Iterator[Any]:
        return self.training.epoch(self.seed, next(self._numbers))

    def __len__(self) -> int:
        return max(1, len(self.training.images) // BATCH)


@contextmanager
def drawing(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """All random numbers start at `seed` within, and go on as before afterwards."""
    python, arrays = random.getstate(), np.random.get_state()
    cuda = [device] if device is not None and device.type == "cuda" else []
    try:
        with torch.random.fork_rng(cuda):
            torch.default_generator.manual_seed(seed)
            for gpu in cuda:
                with torch.cuda.device(gpu):
                    torch.cuda.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)


def _adapter(subject: Subject, example: Any) -> Adapter:
    """The subject's adapter, but by what these images have: labels or none."""
    adapter = subject.adapter
    if isinstance(subject.tally, Given):
        return adapter
    if isinstance(adapter, Output) and isinstance(adapter.adapter, (Unlabelled, Leading)):
        adapter = Output(adapter.output)
    elif isinstance(adapter, (Unlabelled, Leading)):
        adapter = BatchAdapter()
    try:
        class_numbers(adapter.targets(example))
    except SubjectError:
        return without_labels(adapter, subject.network, example)
    return adapter


def _read_twice(images: Images) -> tuple[bool, str]:
    """Whether two reads of the first images are the same, and a hash of a read with a seed."""
    first = range(min(FIRST, len(images)))

    def read() -> np.ndarray:
        return digests(images.batch(first), len(first))

    def seeded() -> np.ndarray:
        with drawing(0):
            return read()

    hashes = seeded()
    if not np.array_equal(hashes, seeded()):
        raise SubjectError(
            "Expected training images whose augmentation draws from the generators of torch, numpy "
            "or Python, but two reads of the first ones differ though these start anew: recovery "
            "must be the same each time; take that augmentation out."
        )
    steady = np.array_equal(hashes, read()) and np.array_equal(hashes, read())
    return steady, hashlib.sha256(hashes.tobytes()).hexdigest()[:12]


def _guises(batch: Any) -> Iterator[Any]:
    """A batch as it is, and without its labels as data without labels would give it."""
    yield batch
    try:
        inputs, _ = split(batch)
    except SubjectError:
        return
    yield inputs
    if isinstance(inputs, tuple) and len(inputs) == 1:
        yield inputs[0]
