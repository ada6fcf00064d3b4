"""The engine for rates that are moved a little, where every network is mended."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lesion.engine.consumers import Consumer
from lesion.engine.mend import Mending
from lesion.engine.mends import Fit
from lesion.engine.moments import Moments
from lesion.engine.replay import Replay
from lesion.lesions.edits import Channels, channels, edges
from lesion.lesions.lesion import Target
from lesion.lesions.mended_edit import Mended
from lesion.network.anatomy import Anatomy
from lesion.network.program import Program, Step


class MendedAround(Replay):
    """Measures by replay from a network that lacks channels and is mended.

    Where a unit loses other channels, the consumers of that unit are fitted anew and all else stays
    as it is mended there: what is measured is near what the recovery as a whole would give, and one
    pass over the training images serves every unit and every rate.

    middle: the network that lacks channels, mended by a fit among others
    """

    def __init__(self, base: Replay, mending: Mending, fit: Fit, middle: Mended) -> None:
        super().__init__(base.dissection, fold=base.fold, most=base.most)
        self.whole, self.middle, self.mending, self.refit = self.program, middle, mending, fit
        self.program = self.whole.having({}, middle.steps(self.whole))

    def avoid(self, digests: np.ndarray) -> None:
        """From now on an image with one of these digests is refused as a training image."""
        self.mending.images.training.shun(digests)

    @torch.no_grad()
    def edit(self, target: Target, dropped: np.ndarray) -> "Moved":
        """The edit to a network without `dropped` that differs in a target's units."""
        moved = Channels(edges(self.dissection, target), dropped)
        images, known = self.mending.images, dict(self.middle.parameters)
        edit = channels(self.dissection, falling(self.dissection.anatomy, dropped), dropped)
        held = edit.held(images.consumers.readers, self.dissection.call.network)
        mended, changed = set(images.consumers.of(edit)), dict[str, Tensor]()
        for consumer in images.consumers.of(moved):
            if consumer not in mended:  # all that it reads stays
                names = {consumer.weight, consumer.bias, consumer.mean} & known.keys()
                changed |= {name: images.program.parameters[name] for name in names}
                continue
            before, now = self._weights(consumer, held)
            lost = images.consumers.layout(consumer).matrix(before - now)
            start = Mended(edit, {**known, consumer.weight: now})
            missing = self._moments[consumer].missing(lost)
            changed |= self.refit.changed(images, start, consumer, missing)
        full = Mended(edit, known, self.middle.at).having(self.dissection, changed)
        reading = Mended(moved).having(self.dissection, changed).nodes
        return Moved(full.edit, full.parameters, full.at, differs=reading, whole=self.whole)

    def _weights(self, consumer: Consumer, held: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """A consumer's weight as it is, and with what now falls or stays before it is fitted."""
        images = self.mending.images
        readers, network = images.consumers.readers, self.dissection.call.network
        whole = images.program.parameters[consumer.weight]
        before = self.middle.weights(readers, network).get(consumer.weight, whole)
        nothing = torch.zeros_like(whole, dtype=torch.bool)
        gone = self.middle.held(readers, network).get(consumer.weight, nothing)
        now = torch.where(gone, whole, before)
        return before, now.masked_fill(held.get(consumer.weight, nothing), 0)

    @cached_property
    def _moments(self) -> dict[Consumer, Moments]:
        """What each consumer of units reads in the mended network, and by how much it misses."""
        images, anatomy = self.mending.images, self.dissection.anatomy
        units = tuple(unit.name for unit in anatomy.units if unit.kind in ("free", "coupled"))
        every = Channels(
            edges(self.dissection, Target("", "joint", units)), np.zeros(anatomy.channels, bool)
        )
        passes = images.passes(0, self.refit.images, self.refit.wide)
        return {c: passes.moments(c, self.middle) for c in images.consumers.of(every)}


@dataclass(frozen=True, eq=False, kw_only=True)
class Moved(Mended):
    """A mended network as an edit of another that differs in few operations.

    differs: these; whole: the intact network's program
    """

    differs: tuple[int, ...]
    whole: Program

    @cached_property
    def nodes(self) -> tuple[int, ...]:
        """The operations that differ."""
        return self.differs

    @cached_property
    def key(self) -> bytes:
        """Of the mended network, and of the operations."""
        return super().key + repr(self.differs).encode()

    def steps(self, program: Program) -> dict[int, Step]:
        """The mended network's operations, where it differs."""
        places = {self.whole.place(node) for node in self.differs}
        changed = super().steps(self.whole)
        return {place: changed.get(place, self.whole.steps[place]) for place in places}


def falling(anatomy: Anatomy, dropped: np.ndarray) -> Target:
    """The units of which some channel falls, as one target."""
    labels = (slice(unit.first, unit.first + unit.channels) for unit in anatomy.units)
    pairs = zip(anatomy.units, labels, strict=True)
    return Target("", "joint", tuple(unit.name for unit, at in pairs if dropped[at].any()))
