"""Lesions that are mended before they are scored, and what lets an engine's networks recover."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from lesion.engine.base import Batches, Cut, Engine, Measurable, Name
from lesion.engine.copies import Recovered
from lesion.engine.memory import networks
from lesion.engine.mend import Mending, TrainingPasses
from lesion.engine.mended_around import MendedAround, falling
from lesion.engine.mends import Fit, Statistics
from lesion.engine.recovery import Chain, parse
from lesion.engine.replay import Replay
from lesion.engine.retrain import BatchNorm, Recover
from lesion.errors import LesionError
from lesion.lesions.edits import Edit
from lesion.lesions.lesion import Joint
from lesion.lesions.mended_edit import Mended
from lesion.network.copy import copied
from lesion.subject.subject import Subject
from lesion.subject.training_images import Training


class MendedReplay(Engine):
    """Measures mended edits by another engine's replay.

    room: bytes for the parameters that are kept, those of one edit at least
    """

    replays = True

    def __init__(self, base: Engine, mending: Mending, name: str, room: int) -> None:
        self.base, self.mending, self.dissection = base, mending, base.dissection
        self.recovery, self.images = name, mending.identity
        self.together: int = networks(base.dissection.call.network, room)
        self._mended: OrderedDict[tuple[Measurable, bytes], Mended] = OrderedDict()

    def obstacle(self, edit: Edit) -> str:
        """Why an edit cannot be measured, mended or not; "" if it can."""
        return self.base.obstacle(edit)

    def hindrance(self, edit: Edit) -> str:
        """Why the edited network cannot be mended; "" if it can."""
        return self.mending.hindrance(edit)

    def avoid(self, digests: np.ndarray) -> None:
        """From now on an image with one of these digests is refused as a training image."""
        self.mending.images.training.shun(digests)

    def fit(self, fastest: int, room: int) -> int:
        """As many images as the other engine runs in half of the room."""
        return self.base.fit(fastest, room // 2)

    def fit_again(self, edits: Iterable[Edit], images: int, fastest: Batches, room: int) -> Batches:
        """The same where edits come back; what is mended lies behind what is edited."""
        return self.base.fit_again(edits, images, fastest, room // 2)

    def run(
        self,
        tensors: Sequence[Tensor],
        cuts: Mapping[Name, Cut],
        intact: bool = True,
        keys: np.ndarray | None = None,
    ) -> Iterator[tuple[Name | None, Tensor]]:
        """The outputs of each mended network, and last under None the intact one's."""
        mended = self.mended({name: cut.edit for name, cut in cuts.items()})
        cuts = {name: replace(cut, edit=mended[name]) for name, cut in cuts.items()}
        yield from self.base.run(tensors, cuts, intact, keys)

    def recovered(self, name: Name, edit: Edit) -> nn.Module:
        """A copy of the network with the parameters that mend it."""
        network = copied(self.dissection.call.network)
        self.mended({name: edit})[name].mend(network)
        return network

    @torch.no_grad()
    def around(self, dropped: np.ndarray) -> Engine | None:
        """See `MendedAround`; None where no least squares mends, or nothing falls."""
        fits = [m for m in self.mending.mends if isinstance(m, Fit) and m.wide]
        target = falling(self.dissection.anatomy, dropped)
        if not isinstance(self.base, Replay) or not fits or not target.units:
            return None
        middle = Joint(target.units)
        edit = self.base.edit(target, dropped)
        return MendedAround(self.base, self.mending, fits[-1], self.mended({middle: edit})[middle])

    def mended(self, edits: Mapping[Name, Edit]) -> dict[Name, Mended]:
        """The edits as they are mended; those that were used longest ago make room for new ones."""
        missing = {n: edit for n, edit in edits.items() if (n, edit.key) not in self._mended}
        if missing:
            for name, mended in self.mending(missing).items():
                self._mended[name, missing[name].key] = mended
        keys = {name: (name, edit.key) for name, edit in edits.items()}
        for key in keys.values():
            self._mended.move_to_end(key)
        while len(self._mended) > max(self.together, len(edits)):
            self._mended.popitem(last=False)
        return {name: self._mended[key] for name, key in keys.items()}


def recovering(engine: Engine, subject: Subject, given: str | Recover, room: int) -> Engine:
    """The engine that lets edited networks recover first.

    room: bytes that copies, training images and their values may take.  Raises LesionError for a
    recovery that cannot be.
    """
    recovery = parse(given)
    training = Training.of(subject, f"recovery by {recovery.name}", room // 8)
    mends, last = recovery.mends, recovery.training
    if not engine.replays and mends:
        if last is None and all(isinstance(mend, Statistics) for mend in mends):
            mends, last = (), BatchNorm()  # all of them: it is not known which an edit reaches
        else:
            raise LesionError(
                f"Expected a network that can be traced for recovery by {recovery.name}: "
                f"{engine.dissection.anatomy.whole}; recover by bn, or train it (finetune:STEPS)."
            )
    if any(isinstance(mend, Statistics) for mend in mends):
        BatchNorm().check(training)
    mending = Mending(TrainingPasses(engine.dissection, training, room // 4), mends)
    if last is None:
        return MendedReplay(engine, mending, recovery.name, room // 4)
    last.check(training)
    return Recovered(engine, subject, Chain(mends, last), training, mending, room // 4)
