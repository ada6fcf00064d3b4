"""Which units a network can lose for good: its own forward may hold their numbers of channels.

What a forward divides channels by, or pads them to, is no weight that could be sliced.  Where
operations take such numbers, a copy is sliced and run.
"""

from collections.abc import Callable, Sequence
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
from lesion.network.weightless import Weightless
from lesion.subject.batch import cloned
from lesion.subject.snapshot import unchanged

Run = Callable[[nn.Module], list[torch.Size]]  # the shapes of what a network gives
Pattern = Callable[[tuple[int, ...], int], Sequence[int]]  # of a cell what falls: so many
HELD = "its number of channels is held by {}, which fails without some of them ({})"


def sliceable(dissection: Dissection) -> Dissection:
    """The dissection with units held that cannot be sliced, where operations take numbers that
    could hinder that: of the channels themselves, or of others that theirs are laid out by, as
    where attention's heads are put together in the width of the stream."""
    units = [unit for unit in dissection.anatomy.units if unit.kind != "tied" and not unit.held]
    suspects = [unit for unit in units if unit.name in dissection.numbered]
    slicer = Slicer(dissection)
    if not suspects:
        return dissection
    with unchanged(dissection.call.network):
        if not slicer.problem(units):
            return dissection
        others = [unit for unit in units if unit not in suspects]
        held = _held(slicer, others) | _held(slicer, suspects)
        first, second = ([u for u in part if u.name not in held] for part in (others, suspects))
        held |= _beside(slicer, first, second)
    judged = tuple(
        replace(unit, held=held[unit.name]) if unit.name in held else unit
        for unit in dissection.anatomy.units
    )
    return replace(dissection, anatomy=replace(dissection.anatomy, units=judged))


def _held(slicer: "Slicer", units: Sequence[Unit]) -> dict[str, str]:
    """Of some units those of which the network cannot lose a part, each with the reason.

    Where it can lose parts of either of two units, but not of both, the second is held.
    """
    problem = slicer.problem(units)
    if not problem:
        return {}
    if len(units) == 1:
        return {units[0].name: problem}
    half = len(units) // 2
    held = _held(slicer, units[:half]) | _held(slicer, units[half:])
    first = [unit for unit in units[:half] if unit.name not in held]
    return held | _beside(slicer, first, [unit for unit in units[half:] if unit.name not in held])


def _beside(slicer: "Slicer", first: Sequence[Unit], units: Sequence[Unit]) -> dict[str, str]:
    """Of some units those that it cannot lose parts of where others and those before lose some."""
    if not units or not slicer.problem([*first, *units]) or slicer.problem(first):
        return {}
    losing, held = list(first), {}
    for unit in units:
        if problem := slicer.problem([*losing, unit]):
            held[unit.name] = problem
        else:
            losing.append(unit)
    return held


@dataclass(frozen=True)
class Slicer:
    """Makes smaller copies of a traced network, and tries them on the batch of the trace."""

    dissection: Dissection

    def problem(self, units: Sequence[Unit]) -> str:
        """Why it does not run without some channels of each group of units, "" if it does: the
        last, the first, and a third of them at random."""
        patterns = (lambda cell, many: cell[-many:], lambda cell, many: cell[:many], _third)
        trials = (self._without(units, *trial) for trial in enumerate(patterns))
        return next(filter(None, map(self._problem, trials)), "")

    def _problem(self, dropped: np.ndarray) -> str:
        """Why a copy without some labels does not run; one without values where that runs."""
        if self._weightless is None:
            return self.smaller(dropped)[1]
        parameters, resized = self.dissection.anatomy.parameters, Resized(self.dissection, dropped)
        small = self._weightless.copied({p.name: p.kept(dropped) for p in parameters})
        numbers = Slices.of_numbers(small, self.dissection, resized)
        numbers.number(small)
        return self._failure(small, numbers, resized, self._weightless.outputs)

    def _without(self, units: Sequence[Unit], trial: int, pattern: Pattern) -> np.ndarray:
        """The labels that fall if each cell loses a pattern; every cell and layer keeps one.

        Units lose one, two or three of each cell, by the digits to base 3 of their place, so that
        no two lose equally many at all three trials.
        """
        anatomy = self.dissection.anatomy
        places = {unit.name: place // 3**trial for place, unit in enumerate(anatomy.units)}
        dropped = np.zeros(anatomy.channels, bool)
        for unit in units:
            for cell in unit.cells:
                many = min(1 + places[unit.name] % 3, len(cell) - 1)  # as in every cut, one stays
                dropped[list(pattern(cell, many))] = many > 0
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
        return small, self._failure(small, slices, resized, self._shapes)

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

    def _failure(self, small: nn.Module, slices: Slices, resized: Resized, run: Run) -> str:
        """Where and how a smaller network fails, though other numbers follow where it does."""
        problem, further = self._failing(small, run), slices
        if problem:
            further = slices.with_numbers(small, resized)
        if further.attributes == slices.attributes:
            return problem
        further.number(small)
        return self._failing(small, run)

    def _failing(self, small: nn.Module, run: Run) -> str:
        """Where and how a smaller network fails, "" where it gives outputs of the same shapes."""
        try:
            shapes = run(small)
        except Exception as error:  # the network is the user's: it may raise anything
            return HELD.format(_place(small, error.__traceback__), first_line(error))
        if shapes == self._wanted:
            return ""
        return HELD.format(type(small).__name__, f"it gives {shapes}")

    @cached_property
    def _wanted(self) -> list[torch.Size]:
        return self._shapes(self.dissection.call.network)

    @cached_property
    def _weightless(self) -> Weightless | None:
        """Makes copies without values, if the network runs as one and gives the same shapes."""
        weightless = Weightless(self.dissection.call)
        try:
            shapes = weightless.outputs(weightless.copied({}))
        except Exception:  # a forward may look at values
            return None
        return weightless if shapes == self._wanted else None

    def _shapes(self, network: nn.Module) -> list[torch.Size]:
        """The shapes of what a network gives for the batch."""
        traced = self.dissection.call
        call = CallOfAll(network, traced.adapted, traced.batch)
        with unchanged(network), torch.no_grad():
            return [output.shape for output in call(*call.tensors(cloned(traced.batch)))]


def _third(cell: tuple[int, ...], many: int) -> list[int]:
    """A third of a cell and some more, scattered over it."""
    fall = min(-(-len(cell) // 3) + many - 1, len(cell) - 1)
    picked: list[int] = np.random.default_rng(0).choice(cell, fall, False).tolist()
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
