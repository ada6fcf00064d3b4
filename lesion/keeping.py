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

from lesion.replay import Program, Run
from lesion.rows import Way

ENOUGH = 0.002  # of a whole pass: what one more place would save is not worth its room


class Kept:
    """What is alive at some places of a program, for the images that have been run.

    places: where in the program, rising; budget: bytes for all images together
    early: whether there is room for all images, so that the first pass may keep them
    """

    def __init__(
        self, program: Program, ways: Mapping[int, Way], places: Iterable[int], budget: int,
        early: bool = False,
    ) -> None:  # fmt: skip
        self.program, self.ways, self.room, self.early = program, ways, budget, early
        self.alive = {place: alive(program, place) for place in sorted(places)}
        self._rows: dict[int, dict[int, dict[int, Any]]] = {place: {} for place in self.alive}

    def before(self, position: int) -> int | None:
        """The last place up to a position."""
        return max((place for place in self.alive if place <= position), default=None)

    def see(self, position: int, values: Mapping[int, Any], keys: np.ndarray) -> None:
        """Keep what is alive at a place that a run of the images `keys` has come to."""
        fresh = {position: self._apart(position, values, keys)}
        self._store(fresh)

    def at(self, place: int, tensors: Sequence[Tensor], keys: np.ndarray) -> dict[int, Any]:
        """The values at a place for the images `keys`, whose inputs are `tensors`."""
        there = self._rows[place]
        missing = np.flatnonzero([key not in there for key in keys.tolist()])
        fresh = self._run(tensors, keys, missing) if len(missing) else {}
        own = [there[key] if key in there else fresh[place][key] for key in keys.tolist()]
        return {index: self._stacked(index, own) for index in self.alive[place]}

    def _run(
        self, tensors: Sequence[Tensor], keys: np.ndarray, rows: np.ndarray
    ) -> dict[int, dict[int, dict[int, Any]]]:
        """The values of some images at all places; kept if there is room."""
        images, chosen = len(keys), torch.from_numpy(rows).to(tensors[0].device)
        run = Run(self.program, [t[chosen] if t.dim() and len(t) == images else t for t in tensors])
        fresh: dict[int, dict[int, dict[int, Any]]] = {}
        for place in self.alive:
            run.forward(place)
            fresh[place] = self._apart(place, run.values, keys[rows])
        self._store(fresh)
        return fresh

    def _apart(
        self, place: int, values: Mapping[int, Any], keys: np.ndarray
    ) -> dict[int, dict[int, Any]]:
        """The values at a place, image by image."""
        return {
            key: {i: self._one(values[i], i, row, len(keys)) for i in self.alive[place]}
            for row, key in enumerate(keys.tolist())
        }

    def _store(self, fresh: dict[int, dict[int, dict[int, Any]]]) -> None:
        """Keep values if there is room for all of them."""
        size = sum(
            one.nbytes for rows in fresh.values() for values in rows.values()
            for one in values.values() if isinstance(one, Tensor)
        )  # fmt: skip
        if size <= self.room:
            self.room -= size
            for place, found in fresh.items():
                self._rows[place].update(found)

    def _one(self, value: Any, index: int, row: int, images: int) -> Any:
        """One image's part of a value: a view, since all images of the batch are kept or none."""
        way = self.ways[index]
        return value[row] if way == "image" else value // images if way == "count" else value

    def _stacked(self, index: int, own: Sequence[Mapping[int, Any]]) -> Any:
        """Some images' value from their parts."""
        parts, way = [values[index] for values in own], self.ways[index]
        if way == "image":
            return _stacked(parts)
        return parts[0] * len(own) if way == "count" else parts[0]


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    """Images' tensors as one, channels last where they are: additions of two layouts are slow."""
    last = parts[0].dim() == 3 and parts[0].permute(1, 2, 0).is_contiguous()
    if not last:
        return torch.stack(list(parts))
    return torch.stack([part.permute(1, 2, 0) for part in parts]).permute(0, 3, 1, 2)


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
