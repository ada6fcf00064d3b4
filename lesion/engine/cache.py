"""Values of the intact run at a few pauses, kept for images that are looked at again.

Lesions that stop when they are told apart come back to an image at different times.  So that the
intact network need not run up to each cut anew, what is alive at a few pauses is kept, image by
image, as long as there is room.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lesion.engine.batch_rows import Way
from lesion.network.program import Program, Run

ENOUGH = 0.002  # of a whole pass: what one more place would save is not worth its room


class Shelf:
    """Room for one value of some images: a row each, laid out as the first value that comes."""

    def __init__(self, value: Tensor, images: int) -> None:
        own = torch.empty_like(value[0])
        self.shape, self.strides = own.shape, own.stride()
        self.rows = own.new_empty(images, own.numel())  # on a CPU taken as rows are filled

    def put(self, row: int, value: Tensor) -> None:
        """Fill the rows from `row` on."""
        self._laid_out(self.rows[row : row + len(value)]).copy_(value)

    def take(self, rows: Tensor) -> Tensor:
        """A copy of some rows."""
        return self._laid_out(self.rows.index_select(0, rows))

    def _laid_out(self, rows: Tensor) -> Tensor:
        """Rows of numbers as images: channels last, say, since to add two layouts is slow."""
        return rows.as_strided((len(rows), *self.shape), (rows.shape[1], *self.strides),
                               rows.storage_offset())  # fmt: skip


class Kept:
    """What is alive at some places of a program, for the images that have been run.

    places: where in the program; room: for how many images
    early: whether that is all of them, so that the first pass may keep them
    """

    def __init__(
        self, program: Program, ways: Mapping[int, Way], places: Iterable[int], room: int,
        early: bool = False,
    ) -> None:  # fmt: skip
        self.program, self.ways, self.room, self.early = program, ways, room, early
        self.alive = {place: alive(program, place) for place in sorted(places)}
        self._row: dict[int, int] = {}
        self._found: dict[tuple[int, int], Any] = {}  # by place and value, of images a shelf

    def before(self, position: int) -> int | None:
        """The last place up to a position."""
        return max((place for place in self.alive if place <= position), default=None)

    def keep(self, run: Run, keys: np.ndarray) -> bool:
        """Keep what a run of the images `keys` comes to, if there is room; whether there was.

        The run goes on to the last place.  Images that are kept already stay where they are.
        """
        new = np.array([key not in self._row for key in keys.tolist()], bool)
        first = len(self._row)
        if first + new.sum() > self.room or run.position > min(self.alive):
            return False
        for place, indices in self.alive.items():
            run.forward(place)
            for index in indices:
                self._put(place, index, run.values[index], first, new)
        self._row.update((key, first + at) for at, key in enumerate(keys[new].tolist()))
        return True

    def at(self, place: int, tensors: Sequence[Tensor], keys: np.ndarray) -> dict[int, Any]:
        """The values at a place for the images `keys`, whose inputs are `tensors`."""
        rows = np.array([self._row.get(key, -1) for key in keys.tolist()])
        missing = np.flatnonzero(rows < 0)
        if not len(missing):
            return self._taken(place, rows)
        run = self._run(tensors, len(keys), missing)
        if self.keep(run, keys[missing]):
            return self.at(place, tensors, keys)
        run.forward(place)
        fresh = {index: run.values[index] for index in self.alive[place]}
        return fresh if len(missing) == len(keys) else self._mixed(place, rows, missing, fresh)

    def _run(self, tensors: Sequence[Tensor], images: int, rows: np.ndarray) -> Run:
        """A run of some of the images."""
        own = [t[rows] if t.dim() and len(t) == images else t for t in tensors]
        return Run(self.program, own)

    def _put(self, place: int, index: int, value: Any, row: int, new: np.ndarray) -> None:
        """Keep one value of those of its images that are new, from a row on."""
        way, own = self.ways[index], (place, index)
        if way == "image":
            fresh = value if new.all() else value[torch.from_numpy(new).to(value.device)]
            if own not in self._found:
                self._found[own] = Shelf(value, self.room)
            self._found[own].put(row, fresh)
        else:
            self._found[own] = value // len(new) if way == "count" else value

    def _taken(self, place: int, rows: np.ndarray) -> dict[int, Any]:
        """The values at a place for the images in some rows."""
        return {index: self._one(place, index, rows) for index in self.alive[place]}

    def _one(self, place: int, index: int, rows: np.ndarray) -> Any:
        way, found = self.ways[index], self._found[place, index]
        if way == "image":
            return found.take(torch.from_numpy(rows).to(found.rows.device))
        return found * len(rows) if way == "count" else found

    def _mixed(
        self, place: int, rows: np.ndarray, missing: np.ndarray, fresh: Mapping[int, Any]
    ) -> dict[int, Any]:
        """The values at a place where some images' are not kept but fresh."""
        found = self._taken(place, np.maximum(rows, 0))
        for index, value in fresh.items():
            if self.ways[index] == "image":
                found[index][missing] = value
        return found


def alive(program: Program, place: int) -> list[int]:
    """The values that the steps from `place` on read and that come from before it."""
    made = {step.index for step in program.steps[place:]}
    read = dict.fromkeys(i for step in program.steps[place:] for i in step.inputs)
    return [index for index in read if index not in made]


def _bytes(
    program: Program, place: int, ways: Mapping[int, Way], sizes: Mapping[int, int]
) -> int | None:
    """What is alive at a place for one image, None where it does not go by the image."""
    indices = alive(program, place)
    if not all(ways.get(index) in ("image", "same", "count") for index in indices):
        return None
    return sum(sizes.get(index, 0) for index in indices if ways[index] == "image")


def places(
    program: Program,
    ways: Mapping[int, Way],
    sizes: Mapping[int, int],
    costs: Sequence[float],
    pauses: Sequence[int],
    budget: float,
) -> dict[int, int]:
    """Where to keep values, so that what runs before the pauses is least.

    sizes: bytes of a value for one image; costs: of each step, in any unit; pauses: where lesions
    cut; budget: bytes for one image.  Places are added one by one, the best first; with each the
    bytes that it takes for one image.
    """
    before = np.concatenate([[0.0], np.cumsum(costs)])
    candidates: dict[int, int] = {}
    start = 1
    for pause in sorted(set(pauses)):  # between two pauses the place where least is alive
        room = {place: _bytes(program, place, ways, sizes) for place in range(start, pause + 1)}
        fit = {place: size for place, size in room.items() if size is not None}
        if fit:
            place = min(fit, key=lambda place: (fit[place], -place))
            candidates[place] = fit[place]
        start = pause + 1
    chosen: list[int] = []

    def rest(some: Sequence[int]) -> float:
        """What runs before the pauses, on average, as a share of a whole pass."""
        starts = [max((p for p in some if p <= pause), default=0) for pause in pauses]
        return float(np.mean([before[p] - before[s] for p, s in zip(pauses, starts, strict=True)]))

    while pauses:
        fitting = [place for place, size in candidates.items() if size <= budget]
        left = [place for place in fitting if place not in chosen]
        best = min(left, key=lambda place: rest([*chosen, place]), default=None)
        if best is None or rest(chosen) - rest([*chosen, best]) < ENOUGH * before[-1]:
            break
        chosen.append(best)
        budget -= candidates[best]
    return {place: candidates[place] for place in chosen}
