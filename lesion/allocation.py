"""Rates that are meant to be applied together: which filters of which layers stay."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lesion.anatomy import Anatomy
from lesion.boundary import public
from lesion.cost import Cost
from lesion.errors import LesionError, StudyError
from lesion.harmless import line
from lesion.header import differences
from lesion.wording import allocation_lines
from lesion.writing import write

FORMAT = 1
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


@dataclass(frozen=True)
class Allocation:
    """Rates of all units that can be removed, to be applied together, with what they rest on.

    subject: the fingerprint of the network and images, as in the study; goal: what was asked
    criterion: by which filters fall; column, baseline, images: the score judged, the intact
        network's in per cent, and on how many images
    rates: one entry a unit, in order of execution, those that stay whole too
    intact, pruned: the costs of one image, exact; milliseconds: predicted, of the intact and the
        pruned network with the uncertainty of the latter, empty without a table of times
    drop, high: joint drop in points and its upper end, predicted or measured; NaN for neither
    measured: whether all were measured together, on the images by which they were chosen
    guarantee: what stands behind the numbers, in words
    """

    subject: Mapping[str, str]
    goal: str
    criterion: str
    column: str
    baseline: float
    images: int
    rates: tuple[UnitRate, ...]
    intact: Cost
    pruned: Cost
    drop: float
    high: float
    guarantee: str
    milliseconds: tuple[float, ...] = ()
    measured: bool = False

    @property
    def known(self) -> str:
        """How its drop is known."""
        return "measured" if self.measured else "predicted"

    @property
    def cut(self) -> tuple[UnitRate, ...]:
        """The units that lose channels."""
        return tuple(rate for rate in self.rates if rate.pruned)

    @property
    def filters(self) -> dict[str, tuple[int, ...]]:
        """Of each layer that loses filters, those that stay; of two units what both leave."""
        found: dict[str, set[int]] = {}
        for rate in self.cut:
            for name, kept in rate.filters.items():
                found[name] = found.get(name, set(kept)) & set(kept)
        return {name: tuple(sorted(kept)) for name, kept in found.items()}

    def dropped(self, anatomy: Anatomy) -> np.ndarray:
        """The labels that fall, as a boolean array over all labels of the anatomy."""
        gone = np.zeros(anatomy.channels, bool)
        for rate in self.cut:
            unit = anatomy.unit[rate.unit]
            gone[unit.first : unit.first + unit.channels] = True
            gone[unit.first + np.array(rate.kept, int)] = False
        return gone

    def check(self, subject: Mapping[str, str]) -> None:
        """Raises StudyError where it is of another subject."""
        if found := differences(self.subject, subject):
            raise StudyError(
                f"Expected rates of this subject, but they are another's: {'; '.join(found)}; "
                "allocate them from this study."
            )

    def table(self) -> pd.DataFrame:
        """One row a unit, in order of execution."""
        rows = [
            {
                "unit": one.unit, "kind": one.kind, "stage": one.stage, "channels": one.channels,
                "kept": len(one.kept), "rate": one.rate, "drop": one.drop, "high": one.high,
                "measured": one.measured, "reason": one.reason,
            }
            for one in self.rates
        ]  # fmt: skip
        return pd.DataFrame(rows).astype({"stage": "Int64"})

    def text(self) -> str:
        """The rates in words."""
        return "\n".join(map(line, allocation_lines(self)))

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values, but for NaN where a drop is not known."""
        return {"lesion": "allocation", "format": FORMAT, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Allocation":
        """What `to_dict` gave. Raises LesionError for anything else."""
        own = dict(values) if isinstance(values, Mapping) else {}
        if own.pop("lesion", None) != "allocation" or own.pop("format", None) != FORMAT:
            raise LesionError(
                f"Expected rates as `lesion recommend --format json` writes them (format {FORMAT})."
            )
        try:
            rates = tuple(_to_rate(rate) for rate in own.pop("rates"))
            intact, pruned = Cost(**own.pop("intact")), Cost(**own.pop("pruned"))
            times = tuple(own.pop("milliseconds"))
            return cls(
                **_numbers(own), rates=rates, intact=intact, pruned=pruned, milliseconds=times
            )
        except (TypeError, KeyError, AttributeError) as error:
            raise LesionError(f"Expected whole rates, but they lack something: {error}.") from error

    @public
    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        write(path, as_json(self.to_dict()) + "\n")

    @classmethod
    @public
    def load(cls, path: str | Path) -> "Allocation":
        """The rates in a JSON file. Raises LesionError where it holds none."""
        try:
            values = json.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise LesionError(
                f"Expected rates in {path}, but it cannot be read: {error}"
            ) from error
        if not isinstance(values, dict):
            raise LesionError(f"Expected rates in {path}, got a {type(values).__name__}.")
        return cls.from_dict(values)


def _to_rate(values: Mapping[str, Any]) -> UnitRate:
    own = dict(values)
    kept = tuple(own.pop("kept"))
    filters = {name: tuple(numbers) for name, numbers in own.pop("filters").items()}
    return UnitRate(**_numbers(own), kept=kept, filters=filters)


def as_json(values: Any) -> str:
    """Values as JSON, which knows no NaN: null in its place."""
    return json.dumps(_known(values), indent=2)


def _known(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _known(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_known(one) for one in value]
    return None if isinstance(value, float) and isnan(value) else value


def _numbers(values: dict[str, Any]) -> dict[str, Any]:
    """Drops that are not known as NaN again."""
    return {n: nan if n in DROPS and one is None else one for n, one in values.items()}
