"""Which units a network can lose for good: its own forward may hold their numbers of channels.

What a forward divides channels by, or pads them to, is no weight that could be sliced.  Where
operations take such numbers, a copy is sliced and run.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import TracebackType

import numpy as np
import torch
from torch import nn

from lesion.errors import first_line
from lesion.network.anatomy import Unit
from lesion.network.copy import copied
from lesion.network.dissection import Dissection
from lesion.network.graph import CallOfAll, state_of
from lesion.network.parameter_masks import masks
from lesion.network.resized import Resized
from lesion.network.slices import Slices
from lesion.subject.batch import cloned
from lesion.subject.snapshot import unchanged

Pattern = Callable[[tuple[int, ...]], Sequence[int]]  # of a cell what falls
HELD = "its number of channels is held by {}, which fails without some of them ({})"


def sliceable(dissection: Dissection) -> Dissection:
    """The dissection with units held that cannot be sliced, where operations take numbers that
    could hinder that."""
    suspects = [
        unit
        for unit in dissection.anatomy.units
        if unit.kind != "tied" and not unit.held and unit.name in dissection.numbered
    ]
    if not suspects:
        return dissection
    held = dict(_held(Slicer(dissection), suspects))
    units = tuple(
        replace(unit, held=held[unit.name]) if unit.name in held else unit
        for unit in dissection.anatomy.units
    )
    return replace(dissection, anatomy=replace(dissection.anatomy, units=units))


def _held(slicer: "Slicer", units: Sequence[Unit]) -> Iterator[tuple[str, str]]:
    """Of some units those of which the network cannot lose a part, each with the reason."""
    problem = slicer.problem(units)
    if not problem:
        return
    if len(units) == 1:
        yield units[0].name, problem
        return
    half = len(units) // 2
    yield from _held(slicer, units[:half])
    yield from _held(slicer, units[half:])


@dataclass(frozen=True)
class Slicer:
    """Makes smaller copies of a traced network, and tries them on the batch of the trace."""

    dissection: Dissection

    def problem(self, units: Sequence[Unit]) -> str:
        """Why it does not run without some channels of each group of units, "" if it does: the
        last, the first, and a third of them at random."""
        patterns = (lambda cell: cell[-1:], lambda cell: cell[:1], _third)
        problems = (self.smaller(self._without(units, pattern))[1] for pattern in patterns)
        return next(filter(None, problems), "")

    def _without(self, units: Sequence[Unit], pattern: Pattern) -> np.ndarray:
        """The labels that fall if each cell loses a pattern; every layer keeps a filter."""
        anatomy = self.dissection.anatomy
        dropped = np.zeros(anatomy.channels, bool)
        for unit in units:
            for cell in unit.cells:
                dropped[list(pattern(cell))] = True
            for name in unit.layers:
                made = [label for label in anatomy.made_by(name) if label >= 0]
                if dropped[made].all():
                    dropped[made[0]] = False
        return dropped

    def smaller(self, dropped: np.ndarray) -> tuple[nn.Module, str]:
        """A copy without some labels, and why it does not run, "" if it does."""
        resized, small = Resized(self.dissection, dropped), copied(self.dissection.call.network)
        slices = Slices.of(small, self.dissection, resized)
        slices.cut(small)
        if self._failure(small):
            slices.with_numbers(small, resized).number(small)
            return small, self._failure(small)
        return small, ""

    def exact(self, dropped: np.ndarray) -> bool:
        """Whether a copy without some labels gives what the network gives without them: none of
        their units is held, and no weight that loses something is computed from others."""
        labels = np.flatnonzero(dropped)
        held = (unit for unit in self.dissection.anatomy.units if unit.held or unit.reason)
        if any(((labels >= u.first) & (labels < u.first + u.channels)).any() for u in held):
            return False
        weights = {name for x in self.dissection.anatomy.layers for name in (x.weight, x.bias)}
        losing = weights.intersection(masks(self.dissection.anatomy, dropped))
        return losing <= dict(state_of(self.dissection.call.network)).keys() - self._computed

    @cached_property
    def _computed(self) -> set[str]:
        """The names of weights that are computed from parameters."""
        nodes = self.dissection.graph.nodes
        return {node.name for node in nodes if node.kind == "parameter" and node.args}

    def _failure(self, small: nn.Module) -> str:
        """Where and how a smaller network fails, "" where it gives outputs of the same shapes."""
        try:
            shapes = self._shapes(small)
        except Exception as error:  # the network is the user's: it may raise anything
            return HELD.format(_place(small, error.__traceback__), first_line(error))
        if shapes == self._wanted:
            return ""
        return HELD.format(type(small).__name__, f"it gives {shapes}")

    @cached_property
    def _wanted(self) -> list[torch.Size]:
        return self._shapes(self.dissection.call.network)

    def _shapes(self, network: nn.Module) -> list[torch.Size]:
        """The shapes of what a network gives for the batch."""
        traced = self.dissection.call
        call = CallOfAll(network, traced.adapted, traced.batch)
        with unchanged(network), torch.no_grad():
            return [output.shape for output in call(*call.tensors(cloned(traced.batch)))]


def _third(cell: tuple[int, ...]) -> list[int]:
    """A third of a cell, scattered over it."""
    picked: list[int] = np.random.default_rng(0).choice(cell, -(-len(cell) // 3), False).tolist()
    return picked


def _place(network: nn.Module, traceback: TracebackType | None) -> str:
    """The innermost module of the network, but torch's own, in whose code an error came up."""
    names = {module: name for name, module in network.named_modules()}
    place = ""
    while traceback is not None:
        module = traceback.tb_frame.f_locals.get("self")
        users = not type(module).__module__.startswith(("torch.nn", "lesion"))
        if isinstance(module, nn.Module) and module in names and users:
            place = names[module] or type(network).__name__
        traceback = traceback.tb_next
    return place or type(network).__name__
