"""Mending without training: what parameters of an edited network become, by unlabelled images.

A layer through which an edit's effect flows first is a consumer; it is mended so that it gives what
it gives in the intact network, one consumer after the other in order of depth, each by what it
reads in the network that is edited, and mended so far.  Batch norms that an edit reaches can have
their statistics estimated anew.  The result is an edit again, so that it is measured as any other.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from operator import add
from typing import Protocol

import torch
from torch import Tensor

from lesion.engine.base import Name
from lesion.engine.consumers import Consumer, Consumers
from lesion.engine.memory import peak
from lesion.engine.moments import MOST, Moments, chosen
from lesion.errors import LesionError
from lesion.lesions.edits import Edit
from lesion.lesions.mended_edit import Mended
from lesion.lesions.value_edits import Passing
from lesion.network.dissection import Dissection
from lesion.network.downstream import Behind, behind
from lesion.network.program import Program, Run, compile_program
from lesion.subject.training_images import Training, drawing

BATCH = 64  # images that a fit reads at once
CELLS = 2**25  # numbers of their rows at once


class Mend(Protocol):
    """Gives parameters of edited networks other values, the same at every call with a seed."""

    @property
    def name(self) -> str:
        """What it is called in keys, tables and files; two that differ have different names."""

    def hindrance(self, images: "TrainingPasses", edit: Mended) -> str:
        """Why it cannot mend after an edit, "" if it can."""

    def __call__(
        self, images: "TrainingPasses", edits: Mapping[Name, Mended], seed: int
    ) -> dict[Name, Mended]:
        """The edits with mended parameters."""


@dataclass(frozen=True, eq=False)
class TrainingPasses:
    """Training images on their way through a traced network, intact and edited.

    room: bytes for values that are kept from one consumer to the next
    """

    dissection: Dissection
    training: Training
    room: int

    @cached_property
    def program(self) -> Program:
        """The network as it is, batch norms by themselves."""
        return compile_program(self.dissection.graph, fold=False)

    @cached_property
    def consumers(self) -> Consumers:
        """What of it can be fitted."""
        return Consumers(self.dissection, self.program)

    @cached_property
    def _behind(self) -> dict[tuple[int, ...], Behind]:
        return {}

    def behind(self, edit: Edit) -> Behind:
        """What of the program depends on an edit."""
        if edit.nodes not in self._behind:
            self._behind[edit.nodes] = behind(self.program, edit.nodes)
        return self._behind[edit.nodes]

    def edited(self, edit: Edit) -> Program:
        """The program of the edited network."""
        steps = list(self.program.steps)
        for place, step in edit.steps(self.program).items():
            steps[place] = step
        return replace(self.program, steps=tuple(steps))

    def batches(self, seed: int, size: int, images: int) -> Iterator[tuple[Tensor, ...]]:
        """The first images of the seeded order, as the network takes them; augmented alike."""
        with drawing(seed):
            for batch in self.training.epoch(seed, 0, size, images):
                yield self.dissection.call.inputs(batch, self.program.read)

    def count(self, images: int) -> int:
        """How many of so many images are read, in batches of equal size."""
        return self.training.count(BATCH, images)

    def reads(
        self, consumers: Iterable[Consumer], seed: int, images: int, wide: bool
    ) -> dict[Consumer, Moments]:
        """What consumers read in the intact network; nothing is missing.

        wide: whether each column counts, or the constant alone
        """
        consumers = sorted(consumers, key=lambda consumer: consumer.places)
        sums: dict[Consumer, Moments] = {}
        for number, tensors in enumerate(self.batches(seed, BATCH, images)):
            run = Run(self.program, tensors)
            uses = sorted((place, each) for each in consumers for place in each.places)
            for place, consumer in uses:
                run.forward(place)
                part = self.part(consumer, place, number, run, None, wide, images)
                sums[consumer] = sums[consumer] + part if consumer in sums else part
        return sums

    def part(
        self,
        consumer: Consumer,
        place: int,
        number: int,
        run: Run,
        made: Tensor | None,
        wide: bool,
        images: int,
    ) -> Moments:
        """The moments at one use, of a batch; made: what the edited network is to give there.

        number: of the batch, by which positions are drawn; images: how many there are in all
        """
        step, layout = self.program.steps[place], self.consumers.layout(consumer)
        x, edited = run.values[step.args[0].index], run.program.steps[place].op
        x = edited.read(x) if isinstance(edited, Passing) else x
        sources, width = layout.sources(step, x), layout.matrix(step.args[1]).shape[1]
        most = -(-MOST * (width + 1) // self.count(images))
        at = chosen(number, sources.shape[1], most).to(x.device)
        short = None
        if made is not None:
            short = layout.made(made - run.program.steps[place].run(run.values))[:, at]
        sums, size = list[Moments](), max(1, CELLS // (len(at) * width * layout.groups))
        for start in range(0, len(x), size):
            few = slice(start, start + size)
            missing = None if short is None else short[few]
            narrow = None if missing is None or wide else missing[..., :0]
            read = layout.rows(x[few], sources[:, at]) if narrow is None else narrow
            sums.append(Moments.of(read, missing, wide))
        return reduce(add, sums)

    def passes(self, seed: int, images: int, wide: bool) -> "Passes":
        """The images in both networks, from consumer to consumer."""
        return Passes(self, seed, images, wide)


class Passes:
    """Training images in the intact and an edited network, which is mended on the way."""

    def __init__(self, images: TrainingPasses, seed: int, count: int, wide: bool) -> None:
        self.images, self.seed, self.count, self.wide = images, seed, count, wide
        size = peak(images.program, images.dissection.sizes)
        self.kept = images.count(count) * size <= images.room
        self._pairs: list[tuple[Run, Run]] = []

    def moments(self, consumer: Consumer, edit: Mended) -> Moments:
        """What a consumer reads and misses, after all before it are mended."""
        program, first = self.images.edited(edit), consumer.places[0]
        pairs = enumerate(self._paused(program, first))
        sums = reduce(add, (self._of_pair(consumer, number, *pair) for number, pair in pairs))
        return sums.shifted(self._behind(consumer, edit))

    def _behind(self, consumer: Consumer, edit: Mended) -> Tensor:
        """(groups, makes): how much more than in the intact network is subtracted behind a
        consumer."""
        layout, parameters = self.images.consumers.layout(consumer), self.images.program.parameters
        makes = layout.matrix(parameters[consumer.weight]).shape[2]
        if consumer.mean not in edit.parameters:
            return torch.zeros(layout.groups, makes)
        more = edit.parameters[consumer.mean] - parameters[consumer.mean]
        return more.reshape(layout.groups, makes)

    def _paused(self, program: Program, place: int) -> Iterator[tuple[Run, Run]]:
        """Both networks before a place, batch by batch."""
        if self.kept and not self._pairs:
            self._pairs = list(self._started())
        for intact, cut in self._pairs if self.kept else self._started():
            cut.program = program
            intact.forward(place)
            cut.forward(place)
            yield intact, cut

    def _started(self) -> Iterator[tuple[Run, Run]]:
        program = self.images.program
        for tensors in self.images.batches(self.seed, BATCH, self.count):
            yield Run(program, tensors), Run(program, tensors)

    def _of_pair(self, consumer: Consumer, number: int, intact: Run, cut: Run) -> Moments:
        whole, edited = intact.forked(), cut.forked()
        parts = []
        for place in consumer.places:
            whole.forward(place)
            edited.forward(place)
            made = whole.program.steps[place].run(whole.values)
            parts.append(
                self.images.part(consumer, place, number, edited, made, self.wide, self.count)
            )
        return reduce(add, parts)


@dataclass(frozen=True, eq=False)
class Mending:
    """Recoveries without training, in turn, of edits of a traced network."""

    images: TrainingPasses
    mends: tuple[Mend, ...]

    @property
    def identity(self) -> str:
        """What tells its images from others, and what it does with them from earlier versions,
        whose `bn` estimated all batch norms."""
        anew = any(mend.name == "bn" for mend in self.mends)
        images = self.images.training.identity
        return f"{images}, of the batch norms behind the lesion" if anew else images

    def hindrance(self, edit: Edit) -> str:
        """Why an edited network cannot be mended, "" if it can."""
        reasons = (mend.hindrance(self.images, Mended(edit)) for mend in self.mends)
        return next(filter(None, reasons), "")

    def __call__(self, edits: Mapping[Name, Edit]) -> dict[Name, Mended]:
        """The edits with the parameters that mend them.

        Raises LesionError for those that cannot be mended.
        """
        for edit in edits.values():
            if reason := self.hindrance(edit):
                raise LesionError(f"Expected a network that can be mended, but {reason}.")
        mended: dict[Name, Mended] = {}
        for seed in sorted({name.seed for name in edits}):
            alike = {name: Mended(edit) for name, edit in edits.items() if name.seed == seed}
            for mend in self.mends:
                alike = mend(self.images, alike, seed)
            mended |= alike
        return mended
