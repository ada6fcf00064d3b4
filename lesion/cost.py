"""What a network costs: multiply-accumulates and parameters, whole or with channels gone."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lesion.anatomy import Anatomy
from lesion.errors import LesionError
from lesion.plan import Target, check_ratios, falling


@dataclass(frozen=True)
class Cost:
    """The costs of one image.

    macs: multiply-accumulates of convolutions and linear layers
    parameters: every trained number, batch norm and biases included
    weights: those of convolutions and linear layers without biases, as Li et al. 2017 count
    """

    macs: int
    parameters: int
    weights: int


def cost(anatomy: Anatomy, dropped: np.ndarray | None = None) -> Cost:
    """The cost of the network without the labels in the boolean array `dropped` (default: none).

    A layer's multiply-accumulates are its weights that stay times the pixels it computes; so a
    cut makes the layers that read its channels cheaper too.
    """
    gone = np.zeros(anatomy.channels, bool) if dropped is None else dropped
    numbers = {p.name: int(np.prod(p.kept(gone), dtype=np.int64)) for p in anatomy.parameters}
    return Cost(
        macs=sum(layer.positions * numbers[layer.weight] for layer in anatomy.layers),
        parameters=sum(numbers[p.name] for p in anatomy.parameters if p.trained),
        weights=sum(numbers[layer.weight] for layer in anatomy.layers),
    )


def cost_at(
    anatomy: Anatomy,
    rates: Mapping[str, float],
    scores: Mapping[str, np.ndarray] | None = None,
    rounding: str = "floor-kept",
) -> Cost:
    """The cost at a pruning ratio for each named unit; the others keep all channels.

    A unit goes by the name of its first layer.  `scores` say which channels fall; that matters
    only where a unit's channels differ in what they cost, and the first fall without them.
    Raises LesionError for a name that is no unit, or a unit that cannot be removed.
    """
    gone = np.zeros(anatomy.channels, bool)
    for name, ratio in rates.items():
        unit = anatomy.unit.get(name)
        if unit is None or unit.kind == "tied":
            why = unit.reason if unit else "no unit has that name"
            raise LesionError(f"Expected a unit that can be removed, got '{name}': {why}.")
        check_ratios([ratio], rounding)
        ranking = (scores or {}).get(name, np.zeros(unit.channels))
        fallen = falling(anatomy, Target(name, unit.kind), ranking, ratio, rounding)
        gone[unit.first : unit.first + unit.channels] = fallen
    return cost(anatomy, gone)
