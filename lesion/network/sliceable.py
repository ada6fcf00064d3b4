"""Which units a network can lose for good: its own forward may hold their numbers of channels.

What a forward divides channels by, or pads them to, is no weight that could be sliced.  Where
operations take such numbers, a copy is sliced and run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import nn

from lesion.errors import first_line
from lesion.network.anatomy import Unit
from lesion.network.copy import copied
from lesion.network.dissection import Dissection
from lesion.network.graph import CallOfAll
from lesion.network.resized import Resized
from lesion.network.slices import Slices
from lesion.subject.batch import cloned
from lesion.subject.snapshot import unchanged

HELD = "its number of channels is held by {}, which fails without some of them ({})"


def sliceable(dissection: Dissection, batch: Any) -> Dissection:
    """The dissection with units held that cannot be sliced, where operations take numbers that
    could hinder that."""
    suspects = [
        unit
        for unit in dissection.anatomy.units
        if unit.kind != "tied" and not unit.held and unit.name in dissection.numbered
    ]
    if not suspects:
        return dissection
    held = dict(_held(_Trial(dissection, batch), suspects))
    units = tuple(
        replace(unit, held=held[unit.name]) if unit.name in held else unit
        for unit in dissection.anatomy.units
    )
    return replace(dissection, anatomy=replace(dissection.anatomy, units=units))


def _held(trial: "_Trial", units: Sequence[Unit]) -> Iterator[tuple[str, str]]:
    """Of some units those of which the network cannot lose a part, each with the reason."""
    problem = trial.problem(units)
    if not problem:
        return
    if len(units) == 1:
        yield units[0].name, problem
        return
    half = len(units) // 2
    yield from _held(trial, units[:half])
    yield from _held(trial, units[half:])


@dataclass(frozen=True)
class _Trial:
    """A traced network and a batch, on which smaller ones are tried."""

    dissection: Dissection
    batch: Any

    def problem(self, units: Sequence[Unit]) -> str:
        """Why it does not run without one channel of each group of some units, "" if it does."""
        return self._problem(units, -1) or self._problem(units, 0)

    def _problem(self, units: Sequence[Unit], place: int) -> str:
        dropped = np.zeros(self.dissection.anatomy.channels, bool)
        dropped[[cell[place] for unit in units for cell in unit.cells]] = True
        resized, small = Resized(self.dissection, dropped), copied(self.dissection.call.network)
        slices = Slices.of(small, self.dissection, resized)
        slices.cut(small)
        if not self._failure(small):
            return ""
        slices.with_numbers(small, resized).number(small)
        return self._failure(small)

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
        call = CallOfAll(network, self.dissection.call.adapted, self.batch)
        with unchanged(network), torch.no_grad():
            return [output.shape for output in call(*call.tensors(cloned(self.batch)))]


def _place(network: nn.Module, traceback: TracebackType | None) -> str:
    """The innermost module of the network, but torch's own, in whose code an error came up."""
    names = {module: name for name, module in network.named_modules()}
    place = ""
    while traceback is not None:
        module = traceback.tb_frame.f_locals.get("self")
        own = not type(module).__module__.startswith(("torch.nn", "lesion"))
        if isinstance(module, nn.Module) and module in names and own:
            place = names[module] or type(network).__name__
        traceback = traceback.tb_next
    return place or type(network).__name__
