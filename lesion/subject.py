"""What is measured: a network, its images, and the adapter between them."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lesion.adapter import (
    Adapter,
    BatchAdapter,
    check_labels,
    class_numbers,
    describe,
    logits,
    moved,
)
from lesion.errors import LesionError, SubjectError
from lesion.images import Images, update

EXAMPLE_IMAGES = 2


@dataclass(frozen=True, eq=False)
class Subject:
    """A network and its labelled images, found to fit one another.

    name: what it is, for people; preprocessing: how images become inputs, for the fingerprint
    classes: how many logits an image has
    example: the batch of the first two images (one, if there is but one)
    """

    network: nn.Module
    images: Images
    adapter: Adapter
    name: str
    preprocessing: str
    classes: int
    example: Any

    @classmethod
    def of(
        cls,
        network: nn.Module,
        data: Any,
        *,
        adapter: Adapter | None = None,
        name: str | None = None,
        preprocessing: str = "",
        workers: int | None = None,
    ) -> "Subject":
        """The subject of a network and a Dataset or DataLoader.

        The network runs once on the first images, in evaluation mode; nothing of it changes.
        Raises SubjectError where weights or outputs are not finite, the data cannot be read by
        index, labels are missing or out of range, or the network cannot take the data.
        """
        if not isinstance(network, nn.Module):
            raise SubjectError(
                f"Expected a torch.nn.Module, got {type(network).__name__}; give the network "
                "itself, not its name or its state_dict."
            )
        check_weights(network)
        images, adapter = Images.of(data, workers), adapter or BatchAdapter()
        example = images.batch(range(min(EXAMPLE_IMAGES, len(images))))
        classes = _try_out(network, adapter, example)
        name = type(network).__name__ if name is None else name
        return cls(network, images, adapter, name, preprocessing, classes, example)

    def logits(self, network: nn.Module, batch: Any) -> Tensor:
        """The logits (N, classes) that `network`, this one or one made from it, gives a batch."""
        return logits(self.adapter.forward(network, batch))

    def targets(self, batch: Any) -> Tensor:
        """The labels of a batch, int64 (N,); raises SubjectError unless all are outputs."""
        labels = class_numbers(self.adapter.targets(batch))
        check_labels(labels, self.classes)
        return labels


def _try_out(network: nn.Module, adapter: Adapter, example: Any) -> int:
    """How many classes the network has, found by running it on the example."""
    labels = class_numbers(adapter.targets(example))
    try:
        with evaluating(network), torch.no_grad():
            outputs = adapter.forward(network, moved(example, device_of(network)))
    except LesionError:
        raise
    except Exception as error:  # the network is the user's: it may raise anything
        lines = str(error).strip().splitlines() or [""]
        raise SubjectError(
            f"Expected data that the network takes, got batches of {describe(example)}, on which "
            f"it fails ({type(error).__name__}: {lines[0].rstrip('.')}); check the size and "
            "channels of the images (--resize, --crop), or give an adapter."
        ) from error
    found = logits(outputs)
    if len(found) != len(labels):
        raise SubjectError(
            f"Expected one row of logits an image, got {len(found)} rows for {len(labels)} "
            "images; give an adapter whose forward returns logits (images, classes)."
        )
    if not bool(found.isfinite().all()):
        raise SubjectError(
            "Expected finite outputs, got NaN or infinity for the first images; "
            "check the weights and the preprocessing."
        )
    check_labels(labels, found.shape[1])
    return found.shape[1]


def check_weights(network: nn.Module) -> None:
    """Raises SubjectError naming the first tensor of the state_dict with NaN or infinity in it."""
    for name, tensor in _tensors(network):
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            bad = int((~tensor.isfinite()).sum())
            raise SubjectError(
                f"Expected finite weights, got NaN or infinity in {bad} of {tensor.numel()} values "
                f"of '{name}'; give weights from before the training diverged."
            )


def fingerprint(network: nn.Module) -> str:
    """The SHA-256 of a network's state_dict: sorted names, types, shapes, bytes; hexadecimal.

    It changes with any weight or running statistic, not with the device.

    >>> a, b = nn.Linear(2, 1), nn.Linear(2, 1)
    >>> _ = b.load_state_dict(a.state_dict())
    >>> fingerprint(a) == fingerprint(b)
    True
    """
    sha = hashlib.sha256()
    for name, tensor in sorted(_tensors(network)):
        update(sha, name, tensor)
    return sha.hexdigest()


def _tensors(network: nn.Module) -> list[tuple[str, Tensor]]:
    state = network.state_dict()
    return [(name, value) for name, value in state.items() if isinstance(value, Tensor)]


def device_of(network: nn.Module) -> torch.device:
    """Where a network's first tensor lies; the CPU for a network without any."""
    return next((tensor.device for _, tensor in _tensors(network)), torch.device("cpu"))


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """The network in evaluation mode; afterwards every module in the mode it was in."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
