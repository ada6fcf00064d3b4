"""Recovery by what a network does with training images, and for how long, before it is scored.

Its channels stay cut meanwhile, and what it learns is thrown away once its lesion is measured.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from lesion.engine.mends import STATISTICS, TOGETHER
from lesion.errors import LesionError, SubjectError
from lesion.subject.training_images import Epochs, Training

Recover = Callable[[nn.Module, Iterable[Any]], None]
OPTIONS = {
    "lr": "rate",
    "momentum": "momentum",
    "decay": "decay",
    "temperature": "temperature",
    "share": "share",
}


class Recovery(Protocol):
    """Changes the lesioned copy of a network, in place and the same at every call with a seed."""

    @property
    def name(self) -> str:
        """What it is called in keys, tables and files; two that differ have different names."""

    def check(self, training: Training) -> None:
        """Raises LesionError where the network or the training images do not do."""

    def __call__(self, network: nn.Module, training: Training, seed: int) -> None:
        """Recovers the network, whose channels are cut already."""


@dataclass(frozen=True)
class BatchNorm:
    """Batch norms' running means and variances are estimated anew; nothing else changes.

    They are the averages over batches of 125 of the first `images` training images of the seeded
    order, batch norms in training mode and all else as in evaluation.
    """

    images: int = STATISTICS

    @property
    def name(self) -> str:
        return "bn"

    def check(self, training: Training) -> None:
        if not any(_norms(training.subject.network)):
            raise SubjectError(
                "Expected a network with batch norms for recovery by bn, got none with running "
                "statistics; fine-tune it (finetune:STEPS), or measure it as it is."
            )

    @torch.no_grad()
    def __call__(self, network: nn.Module, training: Training, seed: int) -> None:
        network.eval()
        for norm in _norms(network):
            norm.reset_running_stats()
            norm.momentum = None  # the plain average of all batches
            norm.train()
        for batch in training.epoch(seed, 0, TOGETHER, self.images):
            training.outputs(network, batch)


@dataclass(frozen=True)
class Finetune:
    """A short retraining: SGD on the cross-entropy, batches of 128, the network in training mode.

    steps: how many batches; rate, momentum, decay (of weights, all of them): of the SGD.  Every
    parameter learns, whether or not it asks for gradients.
    """

    steps: int
    rate: float = 0.01
    momentum: float = 0.9
    decay: float = 5e-4
    word: ClassVar = "finetune"

    @property
    def name(self) -> str:
        usual = type(self)(self.steps)
        values = {o: getattr(self, field) for o, field in OPTIONS.items() if hasattr(self, field)}
        changed = {o: v for o, v in values.items() if v != getattr(usual, OPTIONS[o])}
        return f"{self.word}:{self.steps}" + "".join(f",{o}={v:g}" for o, v in changed.items())

    def check(self, training: Training) -> None:
        possible = self.rate > 0 and 0 <= self.momentum < 1 and self.decay >= 0
        if self.steps < 1 or not possible:
            raise LesionError(
                "Expected at least one step, a positive lr, a momentum from 0 to below 1 and a "
                f"decay of 0 or more, got {self.name}."
            )
        training.targets(training.images.batch([0]))

    def __call__(self, network: nn.Module, training: Training, seed: int) -> None:
        network.train()
        weights = _learning(network)
        sgd = torch.optim.SGD(weights, self.rate, self.momentum, weight_decay=self.decay)
        epochs = chain.from_iterable(repeat(Epochs(training, seed)))
        for batch in islice(epochs, self.steps):
            loss = self.loss(training.outputs(network, batch), training, batch)
            sgd.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            sgd.step()

    def loss(self, outputs: Tensor, training: Training, batch: Any) -> Tensor:
        """What is made smaller: the mean cross-entropy of a batch."""
        return F.cross_entropy(outputs, training.targets(batch))


@dataclass(frozen=True)
class Distill(Finetune):
    """The same, with the intact network as its teacher (Hinton et al. 2015, section 2).

    share · T² · KL(softmax(z_t / T) ‖ softmax(z / T)) + (1 − share) · cross-entropy of the labels,
    mean over a batch; z_t, z: logits of the intact network, in evaluation mode, and of the
    recovering one; T: temperature.  With share 1 no labels are needed.
    """

    temperature: float = 4.0
    share: float = 0.9
    word: ClassVar = "distill"

    def check(self, training: Training) -> None:
        if not (self.temperature > 0 and 0 <= self.share <= 1):
            raise LesionError(
                "Expected a temperature above 0 and a share of the teacher from 0 to 1, got "
                f"{self.name}."
            )
        if not training.subject.classes:
            raise LesionError(
                f"Expected class logits for recovery by {self.name}, which are compared with those "
                "of the intact network; recover without training (reconstruct), or by a function."
            )
        if self.share < 1 and training.subject.adapter.targets(training.images.batch([0])) is None:
            raise LesionError(
                f"Expected labels of the training images for recovery by {self.name}, got none; "
                f"give distill:{self.steps},share=1, which needs none."
            )
        if self.share < 1:
            super().check(training)

    def loss(self, outputs: Tensor, training: Training, batch: Any) -> Tensor:
        """What is made smaller, of a batch."""
        with torch.no_grad():
            teacher = training.outputs(training.subject.network, batch)
        loss = self.share * distillation(teacher, outputs, self.temperature)
        return (
            loss
            if self.share == 1
            else loss + (1 - self.share) * super().loss(outputs, training, batch)
        )


def distillation(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """T² · KL of the softened outputs (N, classes), mean over a batch.

    >>> teacher, student = torch.tensor([[2.0, 0.0]]), torch.zeros(1, 2)
    >>> round(float(distillation(teacher, student, 2.0)), 5)
    0.44378
    """
    soft, target = (F.log_softmax(z / temperature, 1) for z in (student, teacher))
    return temperature**2 * F.kl_div(soft, target, reduction="batchmean", log_target=True)


@dataclass(frozen=True)
class Users:
    """A user's own `recover(network, batches)`, which changes the network in place.

    network: in evaluation mode, all its parameters asking for gradients; batches: of 128 training
    images as the data give them, on the network's device; going through them again gives another
    order.  All random numbers start at the seed.
    """

    recover: Recover

    @property
    def name(self) -> str:
        module = str(getattr(self.recover, "__module__", "?")).partition("@")[0]
        return f"{module}:{getattr(self.recover, '__qualname__', '?')}"

    def check(self, training: Training) -> None:
        """Only calling it tells."""

    def __call__(self, network: nn.Module, training: Training, seed: int) -> None:
        network.eval()
        _learning(network)
        self.recover(network, Epochs(training, seed))


def _norms(network: nn.Module) -> Iterator[_BatchNorm]:
    for module in network.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            yield module


def _learning(network: nn.Module) -> list[nn.Parameter]:
    """Its parameters, all asking for gradients: what a user froze does not change a lesion."""
    found = [weight for weight in network.parameters() if weight.is_floating_point()]
    for weight in found:
        weight.requires_grad_(True)
    return found
