"""The engine that runs the intact network and replays each lesion from its cut on."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lesion.engine.base import Batches, Cut, Engine, Name
from lesion.engine.batch_rows import Trial, Way, rows_at
from lesion.engine.cache import Kept, places
from lesion.engine.memory import that_fit
from lesion.lesions.edits import Channels, Edit, edges
from lesion.lesions.lesion import Target
from lesion.network.dissection import Dissection
from lesion.network.downstream import Behind, behind
from lesion.network.labels import Edge
from lesion.network.program import Program, Run, Step, compile_program

LOOKED_AT = 10_000  # images that lesions come back to, at most, where they stop early


class Replay(Engine):
    """Measures by replay: the intact network runs once, each edit from where it changes it.

    fold: whether batch norm is folded; most: how many rows of a batch are replayed at once
    """

    replays = True

    def __init__(self, dissection: Dissection, *, fold: bool = True, most: int = 1024) -> None:
        self.dissection, self.fold, self.most = dissection, fold, most
        self.kept: Kept | None = None
        self.program: Program = compile_program(dissection.graph, fold=fold)
        self._behind: dict[tuple[int, ...], Behind] = {}

    def behind(self, edit: Edit) -> Behind:
        """What of the program depends on an edit."""
        if edit.nodes not in self._behind:
            self._behind[edit.nodes] = behind(self.program, edit.nodes)
        return self._behind[edit.nodes]

    def run(
        self,
        tensors: Sequence[Tensor],
        cuts: Mapping[Name, Cut],
        intact: bool = True,
        keys: np.ndarray | None = None,
    ) -> Iterator[tuple[Name | None, Tensor]]:
        """The outputs of each cut, in order of where they change the network; see `Engine.run`."""
        if keys is None or self.kept is None or intact:
            run, images = Run(self.program, tensors), len(tensors[0])
            yield from self._cut(run, cuts, images)
            if intact:
                self._see(run, keys)
                yield None, run.output()
            return
        for place, group in self._by_place(cuts).items():
            rows = _union([cut.rows for cut in group.values()], len(keys))
            if place is None:
                run = Run(self.program, tensors)
                yield from self._cut(run, group, len(keys))
                continue
            part = [t[rows] if t.dim() and len(t) == len(keys) else t for t in tensors]
            run = Run(self.program, part, self.kept.at(place, part, keys[rows]), place)
            yield from self._cut(run, {n: cut.among(rows) for n, cut in group.items()}, len(rows))

    def _see(self, run: Run, keys: np.ndarray | None) -> None:
        """Keep values of the first pass over the images."""
        if self.kept is not None and self.kept.early and keys is not None:
            self.kept.keep(run, keys)

    def _by_place(self, cuts: Mapping[Name, Cut]) -> dict[int | None, dict[Name, Cut]]:
        """The cuts by the last place before their edit at which values are kept."""
        assert self.kept is not None
        groups: dict[int | None, dict[Name, Cut]] = {}
        for name, cut in cuts.items():
            place = self.kept.before(self.behind(cut.edit).pause)
            groups.setdefault(place, {})[name] = cut
        return groups

    def _cut(
        self, run: Run, cuts: Mapping[Name, Cut], images: int
    ) -> Iterator[tuple[Name, Tensor]]:
        """The outputs of each cut, in order of their edits; equal ones are replayed once."""
        before: tuple[tuple[Any, ...], Tensor] | None = None
        for name in sorted(cuts, key=lambda name: self.behind(cuts[name].edit).pause):
            cut, after = cuts[name], self.behind(cuts[name].edit)
            rows = b"" if cut.rows is None else cut.rows.tobytes()
            same = (cut.edit.key, cut.rows is None, rows)
            if before is None or before[0] != same:
                run.forward(after.pause)
                run.ahead(after.ahead)
                before = same, self._rows(run, cut, images)
            yield name, before[1]

    def _rows(self, run: Run, cut: Cut, images: int) -> Tensor:
        """The outputs of a cut's rows, as few replayed as can be."""
        if cut.rows is None and images <= self.most:
            return self._replay(run, cut.edit, None)
        rows = torch.from_numpy(np.arange(images) if cut.rows is None else cut.rows).to(run.device)
        outputs = []
        for start in range(0, len(rows), self.most):
            part, reads = rows[start : start + self.most], self.behind(cut.edit).reads
            at = rows_at(run.values, self._ways, reads, part, images)
            if at is None:
                return self._replay(run, cut.edit, None).index_select(0, rows)
            outputs.append(self._replay(run, cut.edit, at))
        return torch.cat(outputs)

    def _replay(self, run: Run, edit: Edit, at: Mapping[int, Any] | None) -> Tensor:
        after = self.behind(edit)
        steps = {place: self.program.steps[place] for place in after.replayed}
        steps |= edit.steps(self.program)
        outputs: Tensor = run.replay(list(steps.values()), after.ends, at)
        return outputs

    def fit(self, fastest: int, room: int) -> int:
        """As many images as have room beside their values, see `peak`."""
        self.most = that_fit(self.program, self.dissection.sizes, room, fastest)
        return self.most

    def fit_again(self, edits: Iterable[Edit], images: int, fastest: Batches, room: int) -> Batches:
        """Half of the room is for values that are kept, see `keep`."""
        first = self.fit(fastest.first, room)
        self.keep(edits, images, room // 2)
        later = that_fit(self.program, self.dissection.sizes, room // 2, fastest.later)
        return Batches(first, later)

    def keep(self, edits: Iterable[Edit], images: int, room: int) -> None:
        """Keep values at a few places before edits, for as many images, in `room` bytes at most."""
        pauses = sorted(self.behind(edit).pause for edit in edits)
        costs, share = self._trial.costs, room / min(images, LOOKED_AT)
        chosen = places(self.program, self._ways, self.dissection.sizes, costs, pauses, share)
        holds = min(images, room // max(sum(chosen.values()), 1))
        early = holds == images
        self.kept = Kept(self.program, self._ways, chosen, holds, early) if chosen else None

    @property
    def _ways(self) -> dict[int, Way]:
        return self._trial.ways

    @cached_property
    def _trial(self) -> Trial:
        call = self.dissection.call
        return Trial.of(self.program, call.tensors(call.leaves))

    def around(self, dropped: np.ndarray) -> "Around":
        """See `Around`."""
        return Around(self, dropped)


class Around(Replay):
    """Measures by replay from a network that lacks some channels already.

    Its edits name the units in which a network differs from that one, and drop all that is gone
    with it: what lies before these units runs once for all. The outputs under None are those of
    the network that lacks the channels.

    whole: the engine of the intact network; dropped: the labels that have fallen
    """

    def __init__(self, whole: Replay, dropped: np.ndarray) -> None:
        super().__init__(whole.dissection, fold=whole.fold, most=whole.most)
        self.whole = self.program
        self._reads: dict[int, list[Edge]] = {}
        for edge in self.dissection.reads:
            self._reads.setdefault(edge.node, []).append(edge)
        fallen = self._reading(dropped, self._reads).steps(self.whole)
        steps = [fallen.get(place, step) for place, step in enumerate(self.whole.steps)]
        self.program = replace(self.whole, steps=tuple(steps))

    def edit(self, target: Target, dropped: np.ndarray) -> Channels:
        """The edit to a network without `dropped` that differs in a target's units."""
        nodes = tuple(sorted({edge.node for edge in edges(self.dissection, target)}))
        return _Instead(self._reading(dropped, nodes).edges, dropped, nodes, self.whole)

    def _reading(self, dropped: np.ndarray, nodes: Iterable[int]) -> Channels:
        """The edit of some operations, where they read what falls."""
        gone = np.append(dropped, False)  # the last is CONSTANT's
        reading = (edge for node in nodes for edge in self._reads[node])
        return Channels(tuple(e for e in reading if gone[e.labels.numpy()].any()), dropped)


@dataclass(frozen=True, eq=False)
class _Instead(Channels):
    """The intact network's operations at some nodes, without channels, in place of others there.

    at: the nodes; whole: the intact network
    """

    at: tuple[int, ...]
    whole: Program

    @property
    def nodes(self) -> tuple[int, ...]:
        return self.at

    @property
    def key(self) -> bytes:
        return super().key + repr(self.at).encode()

    def steps(self, program: Program) -> dict[int, Step]:
        places = (self.whole.position[node] for node in self.at)
        return {place: self.whole.steps[place] for place in places} | super().steps(self.whole)


def _union(rows: Iterable[np.ndarray | None], images: int) -> np.ndarray:
    """The rows that any of them has; None stands for all."""
    every = list(rows)
    if any(part is None for part in every):
        return np.arange(images)
    return np.unique(np.concatenate([part for part in every if part is not None]))
