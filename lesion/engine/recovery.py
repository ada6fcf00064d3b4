"""Recovery before scoring: what a lesioned network may do with training images, and for how long.

Its channels stay cut meanwhile, and what it learns is thrown away once its lesion is measured.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice, repeat
from math import inf
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from lesion.engine.mending import Mend
from lesion.engine.mends import STATISTICS, TOGETHER, Bias, Fit, Fold, Reconstruct, Statistics
from lesion.errors import LesionError, SubjectError
from lesion.subject.training_images import Epochs, Training

Recover = Callable[[nn.Module, Iterable[Any]], None]
OPTIONS = {"lr": "rate", "momentum": "momentum", "decay": "decay"}
FITS: Mapping[str, type[Fit]] = {fit.word: fit for fit in (Bias, Fold, Reconstruct)}
KNOWN = {"bn", "finetune", *FITS}
WORD = re.compile(r"[a-z]+(?::\d+)?(?:,[a-z]+=[^,=]+)*")
WORDS = re.compile(rf"{WORD.pattern}(?:,{WORD.pattern})*")


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

    @property
    def name(self) -> str:
        usual = Finetune(self.steps)
        values = {option: getattr(self, own) for option, own in OPTIONS.items()}
        changed = {o: v for o, v in values.items() if v != getattr(usual, OPTIONS[o])}
        return f"finetune:{self.steps}" + "".join(f",{o}={v:g}" for o, v in changed.items())

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
            loss = F.cross_entropy(training.outputs(network, batch), training.targets(batch))
            sgd.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            sgd.step()


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


@dataclass(frozen=True)
class Chain:
    """Recoveries in turn: those without training first, and at most one with it."""

    mends: tuple[Mend, ...]
    training: Recovery | None = None

    @property
    def name(self) -> str:
        """Their names."""
        last = [self.training.name] if self.training else []
        return ",".join([*(mend.name for mend in self.mends), *last])


def parse(given: str | Recover) -> Chain:
    """The recoveries that a text or function stands for.

    Without training, on unlabelled images: "bias", "reconstruct" and "fold" (also with how many
    images, as "reconstruct:512", and "reconstruct,ridge=0.01"), "bn".  By training:
    "finetune:STEPS", with options "finetune:STEPS,lr=0.001,momentum=0,decay=0", or a function
    `recover(network, batches)`.  Several with commas between them, training last.

    Raises LesionError for anything else.

    >>> parse("finetune:0100,lr=0.01,decay=0").name
    'finetune:100,decay=0'
    >>> parse("reconstruct:512,ridge=0.01,bn").name
    'reconstruct:512,ridge=0.01,bn'
    """
    if not isinstance(given, str):
        if callable(given):
            return Chain((), Users(given))
        raise _unknown(type(given).__name__)
    mends, training = list[Mend](), None
    for word in WORD.findall(given) if WORDS.fullmatch(given) else [given]:
        made = _made(word, given)
        if training is not None or any(type(made) is type(mend) for mend in mends):
            raise _unknown(given)
        if isinstance(made, Finetune):
            training = made
        else:
            mends.append(made)
    return Chain(tuple(mends), training)


def _made(word: str, given: str) -> Mend | Finetune:
    """One recovery, such as "finetune:100,lr=0.01"."""
    first, *options = word.split(",")
    kind, _, count = first.partition(":")
    try:
        values = dict(option.split("=") for option in options)
        if kind == "finetune":
            named = {OPTIONS[option]: float(value) for option, value in values.items()}
            return Finetune(int(count), **named)
        if word == "bn":
            return Statistics()
        fit: Any = FITS[kind](**{"images": int(count)} if count else {})
        made: Fit = replace(fit, **{option: float(value) for option, value in values.items()})
    except (ValueError, KeyError, TypeError) as error:
        raise _unknown(given) from error
    if made.images < 1 or not all(0 <= float(value) < inf for value in values.values()):
        raise _unknown(given)
    return made


def _unknown(given: str) -> LesionError:
    return LesionError(
        "Expected a recovery bias, fold, reconstruct, bn, several of them with commas, "
        "finetune:STEPS, finetune:STEPS,lr=0.001,momentum=0,decay=0 or a function "
        f"recover(network, batches), got '{given}'."
    )


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
