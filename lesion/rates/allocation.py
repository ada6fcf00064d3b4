"""Rates that are meant to be applied together: which filters of which layers stay."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open

from lesion.boundary.files import write
from lesion.boundary.public import public
from lesion.errors import LesionError, StudyError
from lesion.harmless import line
from lesion.network.anatomy import Anatomy, keeps
from lesion.network.cost import Cost, cost
from lesion.study.header import differences
from lesion.words import grouped, lost, percent, scored, signed

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
        stay: dict[str, set[int]] = {}
        for rate in self.cut:
            for name, kept in rate.filters.items():
                stay[name] = stay.get(name, set(kept)) & set(kept)
        return {name: tuple(sorted(kept)) for name, kept in stay.items()}

    def dropped(self, anatomy: Anatomy) -> np.ndarray:
        """The labels that fall, as a boolean array over all labels of the anatomy."""
        gone = np.zeros(anatomy.channels, bool)
        for rate in self.cut:
            unit = anatomy.unit[rate.unit]
            gone[unit.first : unit.first + unit.channels] = True
            gone[unit.first + np.array(rate.kept, int)] = False
        return gone

    def losing(self, anatomy: Anatomy, dropped: np.ndarray) -> "Allocation":
        """The same rates where these labels fall, as many of each unit; itself where they are its
        own, and without what is known of drops where they are others."""
        if np.array_equal(dropped, self.dropped(anatomy)):
            return self
        rates = tuple(_losing(anatomy, rate, dropped) for rate in self.rates)
        unknown = replace(self, drop=nan, high=nan, measured=False, guarantee="")
        return replace(unknown, rates=rates, pruned=cost(anatomy, dropped))

    def check(self, subject: Mapping[str, str]) -> None:
        """Raises StudyError where it is of another subject."""
        if others := differences(self.subject, subject):
            raise StudyError(
                f"Expected rates of this subject, but they are another's: {'; '.join(others)}; "
                "allocate them from this study."
            )

    def table(self) -> pd.DataFrame:
        """One row a unit, in order of execution."""
        rows = [
            {
                "unit": rate.unit,
                "kind": rate.kind,
                "stage": rate.stage,
                "channels": rate.channels,
                "kept": len(rate.kept),
                "rate": rate.rate,
                "drop": rate.drop,
                "high": rate.high,
                "measured": rate.measured,
                "reason": rate.reason,
            }
            for rate in self.rates
        ]
        return pd.DataFrame(rows).astype({"stage": "Int64"})

    def text(self) -> str:
        """The rates in words."""
        return "\n".join(map(line, _lines(self)))

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values, but for NaN where a drop is not known."""
        return {"lesion": "allocation", "format": FORMAT, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Allocation":
        """What `to_dict` gave. Raises LesionError for anything else."""
        given = dict(values) if isinstance(values, Mapping) else {}
        if given.pop("lesion", None) != "allocation" or given.pop("format", None) != FORMAT:
            raise LesionError(
                f"Expected rates as `lesion recommend --format json` writes them (format {FORMAT})."
            )
        try:
            rates = tuple(_to_rate(rate) for rate in given.pop("rates"))
            intact, pruned = Cost(**given.pop("intact")), Cost(**given.pop("pruned"))
            times = tuple(given.pop("milliseconds"))
            return cls(
                **_numbers(given), rates=rates, intact=intact, pruned=pruned, milliseconds=times
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
        """The rates in a JSON file, or in the safetensors of a network pruned by them.

        Raises LesionError where it holds none.
        """
        try:
            values = json.loads(_text_of_pruned(path) or Path(path).read_text())
        except (OSError, ValueError, SafetensorError) as error:
            raise LesionError(
                f"Expected rates in {path}, but it cannot be read: {error}"
            ) from error
        if not isinstance(values, dict):
            raise LesionError(f"Expected rates in {path}, got a {type(values).__name__}.")
        return cls.from_dict(values)


def _text_of_pruned(path: str | Path) -> str:
    """The rates that `save_pruned` wrote beside the tensors; "" for a file of another kind."""
    if Path(path).suffix != ".safetensors":
        return ""
    with safe_open(path, "np") as file:
        return str((file.metadata() or {}).get("allocation", "null"))


def _losing(anatomy: Anatomy, rate: UnitRate, dropped: np.ndarray) -> UnitRate:
    unit = anatomy.unit[rate.unit]
    kept = tuple(np.flatnonzero(~dropped[unit.labels]).tolist())
    if kept == rate.kept:
        return rate
    filters = {
        name: tuple(np.flatnonzero(keeps(anatomy.made_by(name), dropped)).tolist())
        for name in rate.filters
    }
    return replace(rate, kept=kept, filters=filters, drop=nan, high=nan)


def _to_rate(values: Mapping[str, Any]) -> UnitRate:
    given = dict(values)
    kept = tuple(given.pop("kept"))
    filters = {name: tuple(numbers) for name, numbers in given.pop("filters").items()}
    return UnitRate(**_numbers(given), kept=kept, filters=filters)


def as_json(values: Any) -> str:
    """Values as JSON, which knows no NaN: null in its place."""
    return json.dumps(_known(values), indent=2)


def _known(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _known(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_known(part) for part in value]
    return None if isinstance(value, float) and isnan(value) else value


def _numbers(values: dict[str, Any]) -> dict[str, Any]:
    """Drops that are not known as NaN again."""
    return {
        name: nan if name in DROPS and value is None else value for name, value in values.items()
    }


def _lines(rates: Allocation) -> Iterator[str]:
    """What was asked and is met, the rates, what stays whole, and what stands behind it."""
    yield (
        f"The intact network: {scored(rates.column, rates.baseline, rates.images)}. "
        f"Asked: {rates.goal}; filters fall by {rates.criterion}."
    )
    for name, whole, left in (
        ("MACs", rates.intact.macs, rates.pruned.macs),
        ("parameters", rates.intact.parameters, rates.pruned.parameters),
    ):
        yield f"{name}: {grouped(left)} of {grouped(whole)} remain ({100 * left / whole:.1f} %)"
    if rates.milliseconds:
        intact, pruned, spread = rates.milliseconds
        yield f"Time of a batch: {pruned:.2f} ± {spread:.2f} of {intact:.2f} ms, predicted"
    if not isnan(rates.drop):
        yield (
            f"{rates.known.capitalize()} drop of all together: {signed(rates.drop, 2)} points, "
            f"at most {signed(rates.high, 2)}"
        )
    yield f"Rates ({len(rates.cut)} of {len(rates.rates)} units lose channels):"
    for rate in rates.cut:
        alone = f"; alone {lost(rates.column, rate.drop)}"
        alone += "" if rates.column == "evaluation" else f", at most {signed(rate.high, 2)}"
        yield (
            f"  {rate.unit}: {percent(rate.rate)}, {len(rate.kept)} of {rate.channels} channels "
            f"stay{'' if isnan(rate.drop) else alone}"
        )
    uncut = [rate.unit for rate in rates.rates if not rate.pruned]
    if uncut:
        yield f"Whole: {', '.join(uncut)}"
    if rates.guarantee:
        yield rates.guarantee
