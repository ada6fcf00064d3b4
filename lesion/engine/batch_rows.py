"""Some of a batch's images at a pause: which values go by the image, and those of a few rows.

How a value depends on the batch is found by trial, not by its shape: two images run together and
each alone.  Where that does not say it (windows folded into the batch axis, say), all images are
replayed and the rows taken from the outputs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from lesion.network.program import Program, Step

Way = Literal["image", "same", "count"] | tuple[Any, ...] | None
CLOSE = 1e-3  # relative: the same sums in another order


@dataclass(frozen=True)
class Trial:
    """What a run on two images shows.

    ways: how each value goes with the batch, no entry where that is not known
    costs: multiply-accumulates of each step for one image, about
    """

    ways: dict[int, Way]
    costs: list[float]

    @classmethod
    def of(cls, program: Program, tensors: Sequence[Tensor]) -> "Trial":
        """The trial on a batch of two or more images; of fewer it shows nothing."""
        if not tensors or len(tensors[0]) < 2:
            return cls({}, [1.0] * len(program.steps))
        images = len(tensors[0])
        both, first, second = (
            _values(program, tuple(t[own] if t.dim() and len(t) == images else t for t in tensors))
            for own in (slice(0, 2), slice(0, 1), slice(1, 2))
        )
        found = {index: _way(both[index], first[index], second[index]) for index in both}
        costs = [_cost(step, first[step.index]) for step in program.steps]
        return cls({index: way for index, way in found.items() if way}, costs)


def _cost(step: Step, value: Any) -> float:
    """A weight is used once for each place of the output; other steps touch it once."""
    if not isinstance(value, Tensor):
        return 0.0
    weight = step.args[1] if len(step.args) > 1 else None
    mixes = isinstance(weight, Tensor) and weight.dim() > 1
    return float(value.numel()) * (weight[0].numel() if mixes else 1)  # type: ignore[index]


def rows_at(
    values: Mapping[int, Any], ways: Mapping[int, Way], needed: Iterable[int], rows: Tensor,
    images: int,
) -> dict[int, Any] | None:  # fmt: skip
    """The needed values for some of a batch's images, None where one does not go by the image."""
    wanted = list(needed)
    if any(index not in ways for index in wanted):
        return None
    return {index: _narrowed(values[index], ways[index], rows, images) for index in wanted}


@torch.no_grad()
def _values(program: Program, tensors: Sequence[Tensor]) -> dict[int, Any]:
    values: dict[int, Any] = dict(zip(program.inputs, tensors, strict=True))
    for step in program.steps:
        values[step.index] = step.run(values)
    return values


def _way(both: Any, first: Any, second: Any) -> Way:
    if isinstance(both, (tuple, list)):
        parts = tuple(map(_way, both, first, second))
        return parts if all(parts) else None
    if isinstance(both, Tensor):
        if _close(both, first) and _close(both, second):
            return "same"
        alone = both.dim() and len(both) == 2 and len(first) == len(second) == 1
        return "image" if alone and _close(both[:1], first) and _close(both[1:], second) else None
    if both == first == second:
        return "same"
    return "count" if isinstance(both, int) and both == 2 * first == 2 * second else None


def _close(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    if not one.is_floating_point():
        return torch.equal(one, other)
    finite = one[one.isfinite()]
    scale = float(finite.abs().max()) if finite.numel() else 0.0
    return torch.allclose(one, other, rtol=CLOSE, atol=CLOSE * scale)


def _narrowed(value: Any, way: Way, rows: Tensor, images: int) -> Any:
    if isinstance(way, tuple):
        parts = zip(value, way, strict=True)
        return type(value)(_narrowed(one, own, rows, images) for one, own in parts)
    if way == "image":
        return value[rows]  # which keeps its layout, as index_select does not
    return value * len(rows) // images if way == "count" else value
