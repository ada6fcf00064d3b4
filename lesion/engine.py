"""One batch of images and lesions in, the logits of each lesioned network out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from lesion.coupling import Edge
from lesion.damage import filters
from lesion.dissect import Dissection
from lesion.plan import Lesion
from lesion.replay import Behind, Program, Run, behind, compile_program, frees


@dataclass(frozen=True)
class Cut:
    """The edges that a target's lesions cut, and what of the program depends on them."""

    edges: tuple[Edge, ...]
    behind: Behind


class Engine:
    """Measures lesions by replay: the intact network runs once, each lesion from its cut on.

    dropped: for each lesion the labels that fall, as a boolean array
    """

    def __init__(self, dissection: Dissection, *, fold: bool = True) -> None:
        self.dissection = dissection
        self.program: Program = compile_program(dissection.graph, fold=fold)
        self._cuts: dict[tuple[str, str], Cut] = {}

    def cut(self, lesion: Lesion) -> Cut:
        """Where a lesion cuts."""
        key = (lesion.kind, lesion.target)
        if key not in self._cuts:
            edges = self._edges(lesion)
            nodes = {edge.node for edge in edges}
            self._cuts[key] = Cut(edges, behind(self.program, nodes))
        return self._cuts[key]

    def _edges(self, lesion: Lesion) -> tuple[Edge, ...]:
        if lesion.kind == "branch":
            return self.dissection.flows[lesion.target]
        unit = self.dissection.anatomy.unit[lesion.target]
        return tuple(
            edge
            for edge in self.dissection.reads
            if ((edge.labels >= unit.first) & (edge.labels < unit.first + unit.channels)).any()
        )

    def run(
        self, tensors: Sequence[Tensor], dropped: Mapping[Lesion, np.ndarray]
    ) -> Iterator[tuple[Lesion | None, Tensor]]:
        """The logits of each lesion, in order of their cuts, then under None those of the intact
        network, for one batch."""
        run = Run(self.program, tensors)
        for lesion in sorted(dropped, key=lambda one: self.cut(one).behind.pause):
            cut = self.cut(lesion)
            run.forward(cut.behind.pause)
            run.ahead(cut.behind.ahead)
            yield lesion, self._replay(run, cut, dropped[lesion])
        yield None, run.output()

    def _replay(self, run: Run, cut: Cut, dropped: np.ndarray) -> Tensor:
        steps = {place: self.program.steps[place] for place in cut.behind.replayed}
        position = self.program.position()
        for edge in cut.edges:
            place = position[edge.node]
            steps[place] = filters.edit(steps[place], edge, dropped)
        logits: Tensor = run.replay(list(steps.values()), cut.behind.ends)
        return logits


def peak(program: Program, sizes: Mapping[int, int]) -> int:
    """Bytes alive at most in one image's intact run, twice over: as much again for a replay."""
    alive = most = sum(sizes.get(index, 0) for index in program.inputs)
    for step, done in zip(program.steps, frees(program.steps, ()), strict=True):
        alive += sizes.get(step.index, 0)
        most = max(most, alive)
        alive -= sum(sizes.get(index, 0) for index in done)
    return 2 * most
