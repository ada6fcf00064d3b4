"""What falls of one unit, where rates are applied together."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import nan
from typing import Any

import numpy as np

from lesion.network.anatomy import Anatomy, keeps

DROPS = ("drop", "high")


@dataclass(frozen=True)
class UnitRate:
    """What falls of one unit.

    unit, kind: its name, "free" or "coupled"; stage: that of its layers, None where they differ
    channels: how many it has; kept: those that stay, by their number in the unit, rising
    filters: of each layer that makes its channels, the filters that stay, rising
    drop, high: points lost when it alone falls so far, and the upper end of that interval;
        measured: the ratio at which that was measured, the next that was at or above its own
    reason: why it has this rate, where that is not the solver's choice
    """

    unit: str
    kind: str
    stage: int | None
    channels: int
    kept: tuple[int, ...]
    filters: Mapping[str, tuple[int, ...]]
    drop: float = 0.0
    high: float = 0.0
    measured: float = 0.0
    reason: str = ""

    @property
    def pruned(self) -> int:
        """How many of its channels fall."""
        return self.channels - len(self.kept)

    @property
    def rate(self) -> float:
        """The share of its channels that falls."""
        return self.pruned / self.channels

    def losing(self, anatomy: Anatomy, dropped: np.ndarray) -> "UnitRate":
        """The same unit where these labels fall; itself where they are its own, and without what is
        known of drops where they are others."""
        unit = anatomy.unit[self.unit]
        kept = tuple(np.flatnonzero(~dropped[unit.labels]).tolist())
        if kept == self.kept:
            return self
        filters = {
            name: tuple(np.flatnonzero(keeps(anatomy.made_by(name), dropped)).tolist())
            for name in self.filters
        }
        return replace(self, kept=kept, filters=filters, drop=nan, high=nan)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "UnitRate":
        """What `dataclasses.asdict` gave, with lists in place of tuples."""
        given = dict(values)
        kept = tuple(given.pop("kept"))
        filters = {name: tuple(places) for name, places in given.pop("filters").items()}
        return cls(**numbers(given), kept=kept, filters=filters)


def numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Drops that are not known as NaN again."""
    return {
        name: nan if name in DROPS and value is None else value for name, value in values.items()
    }
