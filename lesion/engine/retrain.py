"""Recovery by what a network does with training images, and for how long, before it is scored.

Its channels stay cut meanwhile, or as many are masked, and what it learns is thrown away once its
lesion is measured.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, repeat
from math import inf
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from lesion.engine.attention import distance, noting, stage_ends
from lesion.engine.lesioned import Lesioned
from lesion.engine.mends import STATISTICS, TOGETHER
from lesion.engine.renewals import WAYS
from lesion.errors import LesionError, SubjectError
from lesion.subject.batch import describe, moved
from lesion.subject.network import device_of, evaluating
from lesion.subject.snapshot import unchanged
from lesion.subject.training_images import Epochs, Training

Recover = Callable[[nn.Module, Iterable[Any]], None]
EVERY = 10  # steps from one choice of masks to the next
OPTIONS = {
    "lr": "rate",
    "momentum": "momentum",
    "decay": "decay",
    "temperature": "temperature",
    "share": "share",
    "attention": "attention",
    "masks": "masks",
    "every": "every",
}


class Recovery(Protocol):
    """Changes the lesioned copy of a network, in place and the same at every call with a seed."""

    @property
    def name(self) -> str:
        """What it is called in keys, tables and files; two that differ have different names."""

    def check(self, training: Training) -> None:
        """Raises LesionError where the network or the training images do not do."""

    def __call__(self, lesioned: Lesioned, training: Training, seed: int) -> None:
        """Recovers the copy, cut or masked."""


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
    def __call__(self, lesioned: Lesioned, training: Training, seed: int) -> None:
        lesioned.cut()
        network = lesioned.network.eval()
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
    masks: by what it is decided anew which channels are gone, of each unit as many as before:
        "gdp", "dns", "soft" or "agp", see `lesion.engine.renewals`; "" for no masks; every: after
        how many steps, in the first half of them
    """

    steps: int
    rate: float = 0.01
    momentum: float = 0.9
    decay: float = 5e-4
    masks: str = ""
    every: int = EVERY
    word: ClassVar = "finetune"

    @property
    def name(self) -> str:
        usual = type(self)(self.steps)
        values = {o: getattr(self, field) for o, field in OPTIONS.items() if hasattr(self, field)}
        changed = {o: v for o, v in values.items() if v != getattr(usual, OPTIONS[o])}
        texts = {o: f"{v:g}" if isinstance(v, float) else str(v) for o, v in changed.items()}
        return f"{self.word}:{self.steps}" + "".join(f",{o}={text}" for o, text in texts.items())

    def check(self, training: Training) -> None:
        self.check_options()
        self.check_classes(training)

    def check_classes(self, training: Training) -> None:
        """Raises SubjectError unless targets are classes of the outputs, one an image or place."""
        network = training.subject.network
        batch = moved(training.images.batch([0]), device_of(network))
        targets = training.targets(batch)
        with unchanged(network), evaluating(network), torch.no_grad():
            logits = training.logits(training.outputs(network, batch))
        places = (*logits.shape[:1], *logits.shape[2:])
        numbers = isinstance(targets, Tensor) and not targets.is_floating_point()
        if not numbers or targets.shape != places or logits.shape[1] < 2:
            raise SubjectError(
                f"Expected class numbers for recovery by {self.name}, whose loss is the "
                f"cross-entropy, got targets of {describe(targets)} for outputs of "
                f"{describe(logits)}; recover without training (reconstruct), or by a function "
                "with a loss of your own (FILE.py:FUNCTION)."
            )

    def check_options(self) -> None:
        """Raises LesionError for numbers and masks that cannot be."""
        possible = self.rate > 0 and 0 <= self.momentum < 1 and self.decay >= 0
        if self.steps < 1 or not possible:
            raise LesionError(
                "Expected at least one step, a positive lr, a momentum from 0 to below 1 and a "
                f"decay of 0 or more, got {self.name}."
            )
        renewed = 1 <= self.every <= self.steps // 2
        if self.masks not in ("", *WAYS) or (self.masks and not renewed):
            raise LesionError(
                f"Expected masks={'|'.join(WAYS)}, decided anew every=N steps, at least once in "
                f"the first half of them, got {self.name}."
            )
        if not self.masks and self.every != EVERY:
            raise LesionError(
                f"Expected masks to be decided anew every {self.every} steps, got {self.name}; "
                f"give masks={'|'.join(WAYS)} as well."
            )

    def __call__(self, lesioned: Lesioned, training: Training, seed: int) -> None:
        renewals = None
        if self.masks:
            renewals = WAYS[self.masks](lesioned, training, seed, self.loss)
        else:
            lesioned.cut()
        network = lesioned.network.train()
        weights = _learning(network)
        sgd = torch.optim.SGD(weights, self.rate, self.momentum, weight_decay=self.decay)
        epochs = chain.from_iterable(repeat(Epochs(training, seed)))
        last = self.steps // 2 // self.every
        for step, batch in enumerate(islice(epochs, self.steps)):
            number, rest = divmod(step, self.every)
            if renewals and not rest and 1 <= number <= last:
                renewals.renew(number, last)
            loss = self.loss(lesioned, training, batch)
            sgd.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            sgd.step()

    def loss(self, lesioned: Lesioned, training: Training, batch: Any) -> Tensor:
        """What is made smaller: the mean cross-entropy of a batch."""
        logits = training.logits(lesioned.outputs(training, batch))
        return F.cross_entropy(logits, training.targets(batch))


@dataclass(frozen=True)
class Distill(Finetune):
    """The same, with the intact network as its teacher (Hinton et al. 2015, section 2).

    share · T² · KL(softmax(z_t / T) ‖ softmax(z / T)) + (1 − share) · cross-entropy of the labels,
    mean over a batch; z_t, z: logits of the intact network, in evaluation mode, and of the
    recovering one; T: temperature.  With share 1 no labels are needed.
    attention: β, which adds β/2 · Σ ‖Q − Q_t‖² over the ends of stages, mean over a batch; Q: the
        sum of squared channels at each position, of length 1, see `lesion.engine.attention`
        (Zagoruyko & Komodakis 2017, equation 2, there of distances that are not squared)
    """

    temperature: float = 4.0
    share: float = 0.9
    attention: float = 0.0
    word: ClassVar = "distill"

    def check(self, training: Training) -> None:
        if not (self.temperature > 0 and 0 <= self.share <= 1):
            raise LesionError(
                "Expected a temperature above 0 and a share of the teacher from 0 to 1, got "
                f"{self.name}."
            )
        if not 0 <= self.attention < inf:
            raise LesionError(f"Expected an attention of 0 or more, got {self.name}.")
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
        self.check_options()
        if self.share < 1:
            self.check_classes(training)

    def loss(self, lesioned: Lesioned, training: Training, batch: Any) -> Tensor:
        """What is made smaller, of a batch."""
        anatomy, intact = lesioned.anatomy, training.subject.network
        ends = stage_ends(anatomy) if self.attention else []
        with noting(lesioned.network, ends) as seen:
            outputs = training.logits(lesioned.outputs(training, batch))
        with torch.no_grad(), noting(intact, ends) as goals:
            teacher = training.logits(training.outputs(intact, batch))
        loss = self.share * distillation(teacher, outputs, self.temperature)
        if self.share < 1:
            labels = F.cross_entropy(outputs, training.targets(batch))
            loss = loss + (1 - self.share) * labels
        if self.attention:
            apart = distance(anatomy, ends, seen, lesioned.dropped, goals)
            loss = loss + self.attention / 2 * apart
        return loss


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

    def __call__(self, lesioned: Lesioned, training: Training, seed: int) -> None:
        lesioned.cut()
        _learning(lesioned.network.eval())
        self.recover(lesioned.network, Epochs(training, seed))


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
