"""Lesions that are recovered before they are scored: each on a copy of the network of its own."""

import copy
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn

from lesion.adapter import moved
from lesion.dissect import Dissection
from lesion.engine import Cutting, Engine, One
from lesion.errors import LesionError, SubjectError, first_line
from lesion.hooks import Whole
from lesion.plan import Cuttable, Lesion, Target
from lesion.recovery import Recover, Recovery, parse
from lesion.study import Study
from lesion.subject import Subject, device_of
from lesion.tracing import Call
from lesion.training import Training, drawing


class Recovered:
    """Measures a lesion on a copy of the network that is cut, recovered, and then only run.

    The intact network is left to another engine, `base`, so that its outputs are those beside which
    lesions without recovery are judged.  A copy is a function of the network, the lesion and the
    training images, so that one that is made again is the same.

    together: of how many lesions the copies are kept at once, by `room` bytes, at least one
    """

    def __init__(
        self, base: Engine, dissection: Dissection, subject: Subject, recovery: Recovery,
        training: Training, room: int,
    ) -> None:  # fmt: skip
        self.base, self.subject, self.recovery, self.training = base, subject, recovery, training
        with torch.no_grad():
            self.whole = base if isinstance(base, Whole) else Whole(dissection)
        network = _copied(subject.network)
        tensors = chain(network.parameters(), network.buffers())
        self.together = max(1, room // max(1, sum(tensor.nbytes for tensor in tensors)))
        self._copies: OrderedDict[tuple[Cuttable, bytes], Whole] = OrderedDict()

    def obstacle(self, target: Target) -> str:
        """Why a target's lesions cannot be measured, recovered or not; "" if they can."""
        return self.base.obstacle(target)

    def hindrance(self, target: Target) -> str:
        """Why a target's lesions cannot be recovered exactly; "" if they can."""
        where = self.whole.beyond(target)
        return where and (
            "a network that recovers is cut by hooks, and hooks cannot cut these channels at "
            f"{where}"
        )

    def run(
        self, tensors: Sequence[Tensor], cuts: Mapping[One, Cutting], intact: bool = True,
        keys: np.ndarray | None = None,
    ) -> Iterator[tuple[One | None, Tensor]]:  # fmt: skip
        """The outputs of each recovered lesion on its rows, and last under None the intact ones."""
        images = len(tensors[0])
        for lesion, cutting in cuts.items():
            network = self._copy(lesion, cutting.dropped)
            own: Sequence[Tensor] = tensors
            if cutting.rows is not None:
                rows = torch.from_numpy(cutting.rows).to(tensors[0].device)
                own = [t[rows] if t.dim() and len(t) == images else t for t in tensors]
            yield lesion, network.outputs(own)
        if intact:
            yield from self.base.run(tensors, {}, True)

    def _copy(self, lesion: Cuttable, dropped: np.ndarray) -> Whole:
        """A lesion's recovered network; the copy that was used longest ago makes room for it."""
        key = lesion, dropped.tobytes()  # the same units may lose other channels
        if key not in self._copies:
            while len(self._copies) >= self.together:
                self._copies.popitem(last=False)
            self._copies[key] = self._made(lesion, dropped)
        self._copies.move_to_end(key)
        return self._copies[key]

    def _made(self, lesion: Cuttable, dropped: np.ndarray) -> Whole:
        network, device = _copied(self.subject.network), device_of(self.subject.network)
        call = Call(network, self.subject.outputs, moved(self.subject.example, device))
        target = lesion.at
        made = self.whole.without(call, target, dropped)
        try:
            with torch.enable_grad(), drawing(lesion.seed, device):
                self.recovery(network, self.training, lesion.seed)
        except LesionError:
            raise
        except Exception as error:  # a user's function or network may raise anything
            raise SubjectError(
                f"Expected recovery by {self.recovery.name} to run on the lesioned network, but "
                f"with {lesion.key} it failed ({type(error).__name__}: {first_line(error)}); "
                "check the training images, or choose another recovery."
            ) from error
        for weight in network.parameters():
            weight.grad = None
        network.eval().requires_grad_(False)
        return made


def _copied(network: nn.Module) -> nn.Module:
    """A network of equal values that shares none of them."""
    try:
        return copy.deepcopy(network)
    except Exception as error:  # the network is the user's: it may hold anything
        raise SubjectError(
            "Expected a network that copy.deepcopy copies, because lesioned copies are to recover, "
            f"but it fails ({type(error).__name__}: {first_line(error)}); take out what cannot "
            "be copied, or measure it without recovery."
        ) from error


def recovering(
    engine: Engine, dissection: Dissection, subject: Subject, given: str | Recover, room: int
) -> Engine:
    """The engine that recovers lesions first, where a recovery is given.

    room: bytes that copies and training images may take.  Raises LesionError for training images
    without a recovery, or a recovery that cannot be.
    """
    if not given:
        if subject.train is not None:
            raise LesionError(
                "Expected a recovery for the training images, got none; give recovery=… "
                "(--recover bn), or leave the images out."
            )
        return engine
    recovery = parse(given)
    training = Training.of(subject, recovery.name, room // 8)
    recovery.check(training)
    return Recovered(engine, dissection, subject, recovery, training, room // 4)


def remember(study: Study, engine: Engine) -> None:
    """The study learns which training images lesions recover with, or refuses others than before.

    Raises StudyError where it refuses them.
    """
    if isinstance(engine, Recovered):
        study.set_recovery(engine.recovery.name, engine.training.identity)


def hinder(study: Study, engine: Engine, lesions: Iterable[Lesion]) -> None:
    """Lesions that cannot be recovered exactly have a reason from the start."""
    for lesion in lesions:
        if isinstance(engine, Recovered):
            reason = engine.hindrance(lesion.at)
            if reason:
                study.fail(lesion, reason)
