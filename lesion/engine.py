"""One batch of images and lesions in, the logits of each lesioned network out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from lesion.coupling import Edge
from lesion.damage import filters
from lesion.dissect import Dissection
from lesion.plan import Lesion, Target
from lesion.replay import Behind, Program, Run, behind, compile_program, frees


@dataclass(frozen=True)
class Cut:
    """The edges that a target's lesions cut, and what of the program depends on them."""

    edges: tuple[Edge, ...]
    behind: Behind


class Engine(Protocol):
    """Knows one thing: images and lesions in, logits out."""

    def obstacle(self, target: Target) -> str:
        """Why a target's lesions cannot be measured exactly; "" if they can."""

    def run(
        self, tensors: Sequence[Tensor], dropped: Mapping[Lesion, np.ndarray]
    ) -> Iterator[tuple[Lesion | None, Tensor]]:
        """The logits of each lesion, then under None those of the intact network, for one batch.

        dropped: for each lesion the labels that fall, as a boolean array
        """


class Replay:
    """Measures by replay: the intact network runs once, each lesion from its cut on."""

    def __init__(self, dissection: Dissection, *, fold: bool = True) -> None:
        self.dissection = dissection
        self.program: Program = compile_program(dissection.graph, fold=fold)
        self.position = self.program.position()
        self._cuts: dict[Target, Cut] = {}

    def obstacle(self, target: Target) -> str:
        """Why a target's lesions cannot be measured exactly; "" if they can."""
        return "" if edges(self.dissection, target) else "nothing reads its channels"

    def cut(self, lesion: Lesion) -> Cut:
        """Where a lesion cuts."""
        target = Target(lesion.target, lesion.kind)
        if target not in self._cuts:
            found = edges(self.dissection, target)
            self._cuts[target] = Cut(found, behind(self.program, {edge.node for edge in found}))
        return self._cuts[target]

    def run(
        self, tensors: Sequence[Tensor], dropped: Mapping[Lesion, np.ndarray]
    ) -> Iterator[tuple[Lesion | None, Tensor]]:
        """The logits of each lesion, in order of their cuts, then under None those of the intact
        network, for one batch."""
        run = Run(self.program, tensors)
        before: tuple[Cut, bytes, Tensor] | None = None
        for lesion in sorted(dropped, key=lambda one: self.cut(one).behind.pause):
            cut, gone = self.cut(lesion), dropped[lesion].tobytes()
            if before is None or before[0] is not cut or before[1] != gone:
                run.forward(cut.behind.pause)
                run.ahead(cut.behind.ahead)
                before = cut, gone, self._replay(run, cut, dropped[lesion])
            yield lesion, before[2]
        yield None, run.output()

    def _replay(self, run: Run, cut: Cut, dropped: np.ndarray) -> Tensor:
        steps = {place: self.program.steps[place] for place in cut.behind.replayed}
        for edge in cut.edges:
            place = self.position[edge.node]
            steps[place] = filters.edit(steps[place], edge, dropped)
        logits: Tensor = run.replay(list(steps.values()), cut.behind.ends)
        return logits


def edges(dissection: Dissection, target: Target) -> tuple[Edge, ...]:
    """The edges at which a target's channels are cut."""
    if target.kind == "branch":
        return dissection.flows[target.name]
    unit = dissection.anatomy.unit[target.name]
    return tuple(
        edge
        for edge in dissection.reads
        if ((edge.labels >= unit.first) & (edge.labels < unit.first + unit.channels)).any()
    )


def peak(program: Program, sizes: Mapping[int, int]) -> int:
    """Bytes alive at most in one image's intact run, twice over: as much again for a replay."""
    alive = most = sum(sizes.get(index, 0) for index in program.inputs)
    for step, done in zip(program.steps, frees(program.steps, ()), strict=True):
        alive += sizes.get(step.index, 0)
        most = max(most, alive)
        alive -= sum(sizes.get(index, 0) for index in done)
    return 2 * most
