"""What a network costs with channels gone."""

from collections.abc import Mapping

import numpy as np

from lesion.errors import LesionError
from lesion.lesions.amounts import FILTERS
from lesion.lesions.lesion import Target
from lesion.lesions.ratios import check_rounding, falling
from lesion.network.anatomy import Anatomy
from lesion.network.cost import Cost, cost


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
        FILTERS.check([ratio])
        check_rounding(rounding)
        own = (scores or {}).get(name, np.zeros(unit.channels))
        fallen = falling(anatomy, Target(name, unit.kind), own, ratio, rounding)
        gone[unit.first : unit.first + unit.channels] = fallen
    return cost(anatomy, gone)
