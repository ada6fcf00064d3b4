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

from lesion import harmless
from lesion.boundary.files import write
from lesion.boundary.json_text import as_json
from lesion.boundary.public import public
from lesion.compression.footprint import Footprint
from lesion.errors import LesionError, StudyError
from lesion.lesions.lesion import Lesion
from lesion.methods import Bound
from lesion.network.anatomy import Anatomy
from lesion.network.cost import Cost, cost
from lesion.rates.compressed import Compressed
from lesion.rates.unit_rate import UnitRate, numbers
from lesion.study.header import differences
from lesion.words import grouped, lost, percent, scored, signed

FORMAT, MIXED = 1, 2  # of rates of filters alone, and with weights that change


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
    weights: the layers whose weights are damaged, in order of execution
    footprints: what all layers' weights and biases cost, of the intact network and of this one,
        where weights are damaged or bytes or bit operations were asked for; else empty
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
    weights: tuple[Compressed, ...] = ()
    footprints: tuple[Footprint, ...] = ()

    _repr_html_ = Bound("allocation_html", "lesion.reports.notebook")

    def __repr__(self) -> str:
        macs = percent(self.pruned.macs / max(self.intact.macs, 1))
        parts = [f"{macs} of the MACs remain", f"{len(self.cut)} of {len(self.rates)} units cut"]
        parts += [f"{len(self.weights)} weights changed"] if self.weights else []
        parts += [] if isnan(self.drop) else [f"{lost(self.column, self.drop)} {self.known}"]
        return f"<Allocation, {harmless.name(self.goal)}: {', '.join(parts)}>"

    @property
    def known(self) -> str:
        """How its drop is known."""
        return "measured" if self.measured else "predicted"

    @property
    def cut(self) -> tuple[UnitRate, ...]:
        """The units that lose channels."""
        return tuple(rate for rate in self.rates if rate.pruned)

    @property
    def changes(self) -> tuple[Lesion, ...]:
        """The lesions of layers' weights."""
        return tuple(each.lesion for each in self.weights)

    @property
    def idle(self) -> bool:
        """Whether nothing falls, and no weight changes."""
        return not self.cut and not self.weights

    def check_filters(self, what: str) -> None:
        """Raises LesionError where weights change too; what: that which takes filters alone."""
        if self.weights:
            names = ", ".join(dict.fromkeys(each.damage for each in self.weights))
            raise LesionError(
                f"Expected rates of filters alone for {what}, but these change weights as well "
                f"({names}): recommend with --damage filters."
            )

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
        rates = tuple(rate.losing(anatomy, dropped) for rate in self.rates)
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
        """One row a unit, in order of execution; then one of kind "weights" for each layer whose
        weight is damaged, with the damage and its amount in place of a reason."""
        rows: list[dict[str, Any]] = [
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
        rows += [
            {
                "unit": each.layer,
                "kind": "weights",
                "drop": each.drop,
                "high": each.high,
                "measured": each.amount,
                "reason": f"{each.damage}, {each.words}",
            }
            for each in self.weights
        ]
        return pd.DataFrame(rows).astype(dict.fromkeys(["stage", "channels", "kept"], "Int64"))

    def text(self) -> str:
        """The rates in words."""
        return "\n".join(map(harmless.line, _lines(self)))

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values, but for NaN where a drop is not known."""
        values = {"lesion": "allocation", "format": MIXED, **asdict(self)}
        if self.footprints:
            return values
        alone = {key: v for key, v in values.items() if key not in ("weights", "footprints")}
        return {**alone, "format": FORMAT}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Allocation":
        """What `to_dict` gave. Raises LesionError for anything else."""
        given = dict(values) if isinstance(values, Mapping) else {}
        if given.pop("lesion", None) != "allocation" or given.pop("format", None) not in (
            FORMAT,
            MIXED,
        ):
            raise LesionError(
                "Expected rates as `lesion recommend --format json` writes them "
                f"(format {FORMAT} or {MIXED})."
            )
        try:
            rates = tuple(UnitRate.from_dict(rate) for rate in given.pop("rates"))
            intact, pruned = Cost(**given.pop("intact")), Cost(**given.pop("pruned"))
            times = tuple(given.pop("milliseconds"))
            weights = tuple(Compressed(**numbers(each)) for each in given.pop("weights", ()))
            footprints = tuple(Footprint(**each) for each in given.pop("footprints", ()))
            return cls(
                **numbers(given),
                rates=rates,
                intact=intact,
                pruned=pruned,
                milliseconds=times,
                weights=weights,
                footprints=footprints,
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
                f"Expected rates in {path}, but it cannot be read: {error}; give a file that "
                "`lesion recommend -o` wrote."
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


def _lines(rates: Allocation) -> Iterator[str]:
    """What was asked and is met, the rates, what stays whole, and what stands behind it."""
    yield (
        f"The intact network: {scored(rates.column, rates.baseline, rates.images)}. "
        f"Asked: {rates.goal}{f'; filters fall by {rates.criterion}' if rates.criterion else ''}."
    )
    for name, whole, left in (
        ("MACs", rates.intact.macs, rates.pruned.macs),
        ("parameters", rates.intact.parameters, rates.pruned.parameters),
    ):
        yield f"{name}: {grouped(left)} of {grouped(whole)} remain ({100 * left / whole:.1f} %)"
    for resource, name in (("bytes", "stored bytes"), ("bops", "bit operations")):
        if rates.footprints:
            whole, left = (getattr(footprint, resource) for footprint in rates.footprints)
            yield f"{name}: {grouped(left)} of {grouped(whole)} remain ({100 * left / whole:.1f} %)"
    if rates.milliseconds:
        intact, pruned, spread = rates.milliseconds
        yield f"Time of a batch: {pruned:.2f} ± {spread:.2f} of {intact:.2f} ms, predicted"
    if not isnan(rates.drop):
        yield (
            f"{rates.known.capitalize()} drop of all together: {signed(rates.drop, 2)} points, "
            f"at most {signed(rates.high, 2)}"
        )
    if rates.cut or not rates.weights:
        yield f"Rates ({len(rates.cut)} of {len(rates.rates)} units lose channels):"
    for rate in rates.cut:
        alone = f"; alone {lost(rates.column, rate.drop)}"
        alone += "" if rates.column == "evaluation" else f", at most {signed(rate.high, 2)}"
        yield (
            f"  {rate.unit}: {percent(rate.rate)}, {len(rate.kept)} of {rate.channels} channels "
            f"stay{'' if isnan(rate.drop) else alone}"
        )
    if rates.weights:
        yield f"Weights ({len(rates.weights)} layers):"
    for each in rates.weights:
        alone = "" if isnan(each.drop) else f"; alone {lost(rates.column, each.drop)}"
        yield f"  {each.layer}: {each.damage}, {each.words}{alone}"
    uncut = [rate.unit for rate in rates.rates if not rate.pruned]
    if uncut and not rates.weights:
        yield f"Whole: {', '.join(uncut)}"
    if rates.guarantee:
        yield rates.guarantee
