"""One batch of images and lesions in, the outputs of each lesioned network out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from lesion.coupling import Edge
from lesion.damage import filters
from lesion.dissect import Dissection
from lesion.keeping import Kept, places
from lesion.plan import Cuttable, Target
from lesion.replay import Behind, Program, Run, Step, behind, compile_program, frees
from lesion.rows import Trial, Way, rows_at

One = TypeVar("One", bound=Cuttable)
LOOKED_AT = 10_000  # images that lesions come back to, at most, where they stop early


@dataclass(frozen=True)
class Cut:
    """The edges that a target's lesions cut, and what of the program depends on them."""

    edges: tuple[Edge, ...]
    behind: Behind


@dataclass(frozen=True, eq=False)
class Cutting:
    """What a lesion drops, and on which images of a batch it is measured.

    dropped: the labels that fall, as booleans; rows: places in the batch, rising, None for all
    """

    dropped: np.ndarray
    rows: np.ndarray | None = None

    def within(self, now: range) -> "Cutting":
        """The same for a part of the batch."""
        if self.rows is None:
            return self
        inside = self.rows[(self.rows >= now.start) & (self.rows < now.stop)] - now.start
        return Cutting(self.dropped, None if len(inside) == len(now) else inside)

    def among(self, rows: np.ndarray) -> "Cutting":
        """The same where only some rows of the batch are there, its own among them."""
        own = rows if self.rows is None else self.rows
        return Cutting(self.dropped, None if len(own) == len(rows) else np.searchsorted(rows, own))

    @property
    def some(self) -> bool:
        """Whether there is an image to measure it on."""
        return self.rows is None or len(self.rows) > 0


class Engine(Protocol):
    """Knows one thing: images and lesions in, outputs out."""

    def obstacle(self, target: Target) -> str:
        """Why a target's lesions cannot be measured exactly; "" if they can."""

    def run(
        self, tensors: Sequence[Tensor], cuts: Mapping[One, Cutting], intact: bool = True,
        keys: np.ndarray | None = None,
    ) -> Iterator[tuple[One | None, Tensor]]:  # fmt: skip
        """The outputs of each lesion, and last under None the intact network's, for one batch.

        A lesion's outputs are those of its rows; intact: whether the intact ones are wanted
        keys: numbers of the images, by which an engine may remember them
        """


class Replay:
    """Measures by replay: the intact network runs once, each lesion from its cut on.

    fold: whether batch norm is folded; most: how many rows of a batch are replayed at once
    """

    def __init__(self, dissection: Dissection, *, fold: bool = True, most: int = 1024) -> None:
        self.dissection, self.fold, self.most = dissection, fold, most
        self.kept: Kept | None = None
        self.program: Program = compile_program(dissection.graph, fold=fold)
        self.position = self.program.position()
        self._cuts: dict[Target, Cut] = {}

    def obstacle(self, target: Target) -> str:
        """Why a target's lesions cannot be measured exactly; "" if they can."""
        return "" if edges(self.dissection, target) else "nothing reads its channels"

    def cut(self, lesion: Cuttable) -> Cut:
        """Where a lesion cuts."""
        return self.cut_of(lesion.at)

    def cut_of(self, target: Target) -> Cut:
        """Where a target's lesions cut."""
        if target not in self._cuts:
            found = edges(self.dissection, target)
            self._cuts[target] = Cut(found, behind(self.program, {edge.node for edge in found}))
        return self._cuts[target]

    def run(
        self, tensors: Sequence[Tensor], cuts: Mapping[One, Cutting], intact: bool = True,
        keys: np.ndarray | None = None,
    ) -> Iterator[tuple[One | None, Tensor]]:  # fmt: skip
        """The outputs of each lesion, in order of their cuts, and last under None the intact ones.

        A lesion's outputs are those of its rows; intact: whether the intact ones are wanted
        keys: numbers of the images by which values may be kept between calls
        """
        if keys is None or self.kept is None or intact:
            run, images = Run(self.program, tensors), len(tensors[0])
            yield from self._lesions(run, cuts, images)
            if intact:
                self._see(run, keys)
                yield None, run.output()
            return
        for place, group in self._by_place(cuts).items():
            rows = _union([cutting.rows for cutting in group.values()], len(keys))
            if place is None:
                run = Run(self.program, tensors)
                yield from self._lesions(run, group, len(keys))
                continue
            own = [t[rows] if t.dim() and len(t) == len(keys) else t for t in tensors]
            run = Run(self.program, own, self.kept.at(place, own, keys[rows]), place)
            cuts_here = {lesion: cutting.among(rows) for lesion, cutting in group.items()}
            yield from self._lesions(run, cuts_here, len(rows))

    def _see(self, run: Run, keys: np.ndarray | None) -> None:
        """Keep values of the first pass over the images."""
        if self.kept is not None and self.kept.early and keys is not None:
            self.kept.keep(run, keys)

    def _by_place(
        self, cuts: Mapping[One, Cutting]
    ) -> dict[int | None, dict[One, Cutting]]:  # fmt: skip
        """The lesions by the last place before their cut at which values are kept."""
        assert self.kept is not None
        found: dict[int | None, dict[One, Cutting]] = {}
        for lesion, cutting in cuts.items():
            place = self.kept.before(self.cut(lesion).behind.pause)
            found.setdefault(place, {})[lesion] = cutting
        return found

    def _lesions(
        self, run: Run, cuts: Mapping[One, Cutting], images: int
    ) -> Iterator[tuple[One, Tensor]]:
        """The outputs of each lesion, in order of their cuts; equal ones are replayed once."""
        before: tuple[tuple[Any, ...], Tensor] | None = None
        for lesion in sorted(cuts, key=lambda one: self.cut(one).behind.pause):
            cut, cutting = self.cut(lesion), cuts[lesion]
            rows = b"" if cutting.rows is None else cutting.rows.tobytes()
            same = (id(cut), cutting.dropped.tobytes(), cutting.rows is None, rows)
            if before is None or before[0] != same:
                run.forward(cut.behind.pause)
                run.ahead(cut.behind.ahead)
                before = same, self._rows(run, cut, cutting, images)
            yield lesion, before[1]

    def _rows(self, run: Run, cut: Cut, cutting: Cutting, images: int) -> Tensor:
        """The outputs of a lesion's rows, as few replayed as can be."""
        if cutting.rows is None and images <= self.most:
            return self._replay(run, cut, cutting.dropped, None)
        own = np.arange(images) if cutting.rows is None else cutting.rows
        rows = torch.from_numpy(own).to(run.device)
        found = []
        for start in range(0, len(rows), self.most):
            some = rows[start : start + self.most]
            at = rows_at(run.values, self._ways, cut.behind.reads, some, images)
            if at is None:
                return self._replay(run, cut, cutting.dropped, None).index_select(0, rows)
            found.append(self._replay(run, cut, cutting.dropped, at))
        return torch.cat(found)

    def keep(self, targets: Iterable[Target], images: int, budget: int) -> None:
        """Keep values at a few places before the targets' cuts, for as many images, in `budget`
        bytes at most."""
        pauses = sorted(self.cut_of(target).behind.pause for target in targets)
        costs = self._trial.costs
        share = budget / min(images, LOOKED_AT)
        chosen = places(self.program, self._ways, self.dissection.sizes, costs, pauses, share)
        room = min(images, budget // max(sum(chosen.values()), 1))
        early = room == images
        self.kept = Kept(self.program, self._ways, chosen, room, early) if chosen else None

    @property
    def _ways(self) -> dict[int, Way]:
        return self._trial.ways

    @cached_property
    def _trial(self) -> Trial:
        call = self.dissection.call
        return Trial.of(self.program, call.tensors(call.leaves))

    def _replay(
        self, run: Run, cut: Cut, dropped: np.ndarray, at: Mapping[int, Any] | None
    ) -> Tensor:
        steps = {place: self.program.steps[place] for place in cut.behind.replayed}
        steps |= self._edited(cut, dropped)
        outputs: Tensor = run.replay(list(steps.values()), cut.behind.ends, at)
        return outputs

    def _edited(self, cut: Cut, dropped: np.ndarray) -> dict[int, Step]:
        """The steps at a cut without what falls."""
        return edited(self.program, self.position, cut.edges, dropped)


class Around(Replay):
    """Measures by replay from a network that lacks some channels already.

    A lesion names the units in which it differs from that network, and drops all that is gone with
    it: what lies before these units runs once for all lesions. The outputs under None are those of
    the network that lacks the channels.

    whole: the engine of the intact network; dropped: the labels that have fallen
    """

    def __init__(self, whole: Replay, dropped: np.ndarray) -> None:
        super().__init__(whole.dissection, fold=whole.fold, most=whole.most)
        self.whole = self.program
        self._reads: dict[int, list[Edge]] = {}
        for edge in self.dissection.reads:
            self._reads.setdefault(self.position[edge.node], []).append(edge)
        fallen = edited(self.whole, self.position, self._reading(dropped, self._reads), dropped)
        steps = [fallen.get(at, step) for at, step in enumerate(self.whole.steps)]
        self.program = replace(self.whole, steps=tuple(steps))

    def _edited(self, cut: Cut, dropped: np.ndarray) -> dict[int, Step]:
        places = [self.position[edge.node] for edge in cut.edges]
        whole = {place: self.whole.steps[place] for place in places}
        return whole | edited(self.whole, self.position, self._reading(dropped, places), dropped)

    def _reading(self, dropped: np.ndarray, places: Iterable[int]) -> list[Edge]:
        """The edges at some places that read what falls."""
        gone = np.append(dropped, False)  # the last is CONSTANT's
        return [
            edge for place in dict.fromkeys(places) for edge in self._reads[place]
            if gone[edge.labels.numpy()].any()
        ]  # fmt: skip


def edited(
    program: Program, position: Mapping[int, int], edges: Iterable[Edge], dropped: np.ndarray
) -> dict[int, Step]:
    """The steps of a program that are cut at edges, by their places."""
    steps: dict[int, Step] = {}
    for edge in edges:
        place = position[edge.node]
        steps[place] = filters.edit(steps.get(place, program.steps[place]), edge, dropped)
    return steps


def _union(rows: Iterable[np.ndarray | None], images: int) -> np.ndarray:
    """The rows that any of them has; None stands for all."""
    found = list(rows)
    if any(own is None for own in found):
        return np.arange(images)
    return np.unique(np.concatenate([own for own in found if own is not None]))


def edges(dissection: Dissection, target: Target) -> tuple[Edge, ...]:
    """The edges at which a target's channels are cut."""
    if target.kind == "branch":
        return dissection.flows[target.name]
    anatomy = dissection.anatomy
    own = np.zeros(anatomy.channels + 1, bool)  # the last is CONSTANT's
    for name in target.units or (target.name,):
        unit = anatomy.unit[name]
        own[unit.first : unit.first + unit.channels] = True
    return tuple(edge for edge in dissection.reads if own[edge.labels.numpy()].any())


def peak(program: Program, sizes: Mapping[int, int]) -> int:
    """Bytes alive at most in one image's intact run, twice over: as much again for a replay."""
    alive = most = sum(sizes.get(index, 0) for index in program.inputs)
    for step, done in zip(program.steps, frees(program.steps, ()), strict=True):
        alive += sizes.get(step.index, 0)
        most = max(most, alive)
        alive -= sum(sizes.get(index, 0) for index in done)
    return 2 * most
