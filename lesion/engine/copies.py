"""Lesions that are recovered before they are scored: each on a copy of the network of its own."""

import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from lesion.engine.base import Cut, Engine, Measurable, Name
from lesion.engine.lesioned import Lesioned
from lesion.engine.masks import unmaskable
from lesion.engine.memory import networks
from lesion.engine.mend import Mending
from lesion.engine.recovery import Chain
from lesion.engine.retrain import Finetune
from lesion.engine.whole import Whole, rows_of
from lesion.errors import LesionError, SubjectError, first_line
from lesion.lesions.edits import Channels, Edit
from lesion.network.graph import Call
from lesion.subject.batch import moved
from lesion.subject.network import device_of
from lesion.subject.subject import Subject
from lesion.subject.training_images import Training, drawing


class Recovered(Engine):
    """Measures an edit on a copy of the network that is edited, recovered, and then only run.

    The intact network is left to another engine, `base`, so that its outputs are those beside which
    lesions without recovery are judged.  A copy is a function of the network, the edit, the seed
    and the training images, so that one that is made again is the same.  After a recovery with
    masks as many channels of each unit are gone as in the edit, and maybe others.

    room: bytes for the copies that are kept at once, of which there is one at least
    """

    def __init__(
        self,
        base: Engine,
        subject: Subject,
        recovery: Chain,
        training: Training,
        mending: Mending,
        room: int,
    ) -> None:
        assert recovery.training is not None
        self.base, self.subject, self.recovers = base, subject, recovery.training
        self.training, self.mending, self.dissection = training, mending, base.dissection
        self.recovery, self.images = recovery.name, mending.identity
        with torch.no_grad():
            self.whole = base if isinstance(base, Whole) else Whole(base.dissection)
        _copied(subject.network)  # refused before all work where it cannot be copied
        self.together: int = networks(subject.network, room)
        self._copies: OrderedDict[tuple[Measurable, bytes], Lesioned] = OrderedDict()

    def obstacle(self, edit: Edit) -> str:
        """Why an edit cannot be measured, recovered or not; "" if it can."""
        return self.base.obstacle(edit)

    def hindrance(self, edit: Edit) -> str:
        """Why the edited network cannot recover exactly; "" if it can."""
        if where := edit.obstacle(self.whole.readers):
            return (
                "a network that recovers is cut by hooks, and hooks cannot cut these channels at "
                f"{where}"
            )
        if self.masks and (reason := unmaskable(edit, self.dissection.anatomy, self.whole.readers)):
            return reason
        return self.mending.hindrance(edit)

    @property
    def masks(self) -> bool:
        """Whether the recovery decides anew which channels are gone."""
        return isinstance(self.recovers, Finetune) and bool(self.recovers.masks)

    def avoid(self, digests: np.ndarray) -> None:
        """From now on an image with one of these digests is refused as a training image."""
        self.training.shun(digests)

    def fit(self, fastest: int, room: int) -> int:
        """As many images as the intact network runs in half of the room; copies take the rest."""
        return self.base.fit(fastest, room // 2)

    def run(
        self,
        tensors: Sequence[Tensor],
        cuts: Mapping[Name, Cut],
        intact: bool = True,
        keys: np.ndarray | None = None,
    ) -> Iterator[tuple[Name | None, Tensor]]:
        """The outputs of each recovered network on its rows, and last under None the intact
        ones."""
        for name, cut in cuts.items():
            yield name, self._copy(name, cut.edit).cut().outputs(rows_of(tensors, cut.rows))
        if intact:
            nothing: dict[Name, Cut] = {}
            yield from self.base.run(tensors, nothing, True)

    def recovered(self, name: Name, edit: Edit) -> nn.Module:
        """A copy of the network with the weights that it has learned."""
        network = _copied(self.subject.network)
        network.load_state_dict(self._copy(name, edit).network.state_dict())
        return network

    def fallen(self, name: Name, edit: Channels) -> Channels:
        """The edit, or with masks the one that it has become."""
        return replace(edit, dropped=self._copy(name, edit).dropped)

    def _copy(self, name: Measurable, edit: Edit) -> Lesioned:
        """A recovered network; the copy that was used longest ago makes room for it."""
        key = name, edit.key  # the same units may lose other channels
        if key not in self._copies:
            while len(self._copies) >= self.together:
                self._copies.popitem(last=False)
            self._copies[key] = self._recovered(name, edit)
        self._copies.move_to_end(key)
        return self._copies[key]

    def _recovered(self, name: Measurable, edit: Edit) -> Lesioned:
        network, device = _copied(self.subject.network), device_of(self.subject.network)
        call = Call(network, self.subject.outputs, moved(self.subject.example, device))
        self.mending({name: edit})[name].mend(network)
        lesioned = Lesioned(self.whole, call, edit)
        try:
            with torch.enable_grad(), drawing(name.seed, device):
                self.recovers(lesioned, self.training, name.seed)
        except LesionError:
            raise
        except Exception as error:  # a user's function or network may raise anything
            raise SubjectError(
                f"Expected recovery by {self.recovery} to run on the lesioned network, but "
                f"with {name.key} it failed ({type(error).__name__}: {first_line(error)}); "
                "check the training images, or choose another recovery."
            ) from error
        for weight in network.parameters():
            weight.grad = None
        network.eval().requires_grad_(False)
        lesioned.cut()
        return lesioned


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
