"""The lesions of one criterion, damage and recovery as a page shows them: curves and advice."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from lesion.harmless import line
from lesion.reports.page.answers import answers, grid, packed
from lesion.reports.page.texts import Texts, rounded
from lesion.reports.plots.rows import of_damage
from lesion.results.reading import Reading
from lesion.subject.outcomes import EVALUATION
from lesion.words import lost, points

Target = tuple[str, str]  # a layer, unit, block, stage or draw by name, and its kind
NUMBERS = ("drop", "low", "high", "accuracy")


def family(
    reading: Reading,
    rows: pd.DataFrame,
    tolerances: Sequence[float] | None,
    texts: Texts,
) -> dict[str, Any]:
    """Its curves and answers as JSON values.

    rows: the study's curves; tolerances: at which advice is given, None for those of `grid`
    Targets come in order of execution. Of several seeds or roundings of one amount the worst
    counts, as in advice.
    """
    amounts = reading.amounts
    measured = _its(rows, reading)
    targets = list(dict.fromkeys(zip(measured["layer"], measured["kind"], strict=True)))
    every = amounts.sort(measured["amount"].tolist())
    drops = grid(reading) if tolerances is None else tolerances
    made = answers(reading, drops)
    return {
        "name": _name(reading),
        "damage": line(reading.damage),
        "criterion": line(reading.criterion),
        "recovery": line(reading.recovery),
        "prunes": reading.filters,
        "unit": "" if reading.column == EVALUATION else "points",
        "confidence": reading.confidence,
        "target": line(amounts.target),
        "spared": line(amounts.spared),
        "axis": line(amounts.axis),
        "worst": line(amounts.worst),
        "upto": line(amounts.up_to),
        "amounts": every,
        "amount_texts": [line(amounts.text(amount)) for amount in every],
        "targets": [_place(reading, target) for target in targets],
        "curves": _curves(measured, targets, every, texts),
        "absent": _absent(rows, reading, texts),
        "answers": [packed(answer, targets, texts) for answer in made],
        "tolerance_texts": [_tolerance(reading, drop) for drop in drops],
        "start": _start(reading, drops),
    }


def _name(reading: Reading) -> str:
    """What is done to layers, in words."""
    by = f", by {reading.criterion}" if reading.criterion else ""
    after = f", then {reading.recovery}" if reading.recovery else ""
    return line(f"{reading.damage}{by}{after}")


def _its(rows: pd.DataFrame, reading: Reading) -> pd.DataFrame:
    """The rows of the reading's lesions."""
    named = {name: getattr(reading, name) for name in ("criterion", "damage", "recovery")}
    its: pd.DataFrame = rows[rows["amount"].notna()]
    for name, text in named.items():
        its = its[its[name] == text]
    return its


def _place(reading: Reading, target: Target) -> dict[str, Any]:
    """A target's name and kind, and the layers that it changes, by their numbers."""
    name, kind = target
    anatomy = reading.anatomy
    members: Sequence[str]
    if kind == "coupled":
        members = anatomy.unit[name].layers
    elif kind == "block":
        members = anatomy.block[name].members
    elif kind == "stage":
        members = [layer.name for layer in anatomy.stages[name]]
    elif kind == "network":
        members = ()
    else:
        members = (name,)
    numbers = {layer: number for number, layer in enumerate(anatomy.layer)}
    return {"name": line(name), "kind": kind, "layers": [numbers[member] for member in members]}


def _curves(
    measured: pd.DataFrame, targets: Sequence[Target], amounts: Sequence[float], texts: Texts
) -> list[list[dict[str, Any]]]:
    """For each target its lesions in order of harm."""
    curves: dict[Target, dict[float, dict[str, Any]]] = {target: {} for target in targets}
    for row in measured.to_dict("records"):
        cells = curves[row["layer"], row["kind"]]
        cell, known = _cell(row, texts), cells.get(row["amount"])
        worse = known is None or (cell.get("drop") or -1e9) > (known.get("drop") or -1e9)
        cells[row["amount"]] = cell if worse or known is None else known
    return [
        [{"at": place, **cells[amount]} for place, amount in enumerate(amounts) if amount in cells]
        for cells in curves.values()
    ]


def _cell(row: Mapping[Any, Any], texts: Texts) -> dict[str, Any]:
    """What a lesion costs and saves; or why it has no numbers."""
    if row["reason"]:
        return {"reason": texts.add(row["reason"])}
    cell = {name: rounded(row[name]) for name in NUMBERS}
    cell |= {"images": int(row["images"]), "early": int(row["interval"] == "anytime")}
    if row["damage"] == "filters":
        cell |= {"pruned": int(row["pruned"]), "channels": int(row["channels"])}
    return {**cell, "bytes": rounded(row["bytes_saved"], 1), "macs": rounded(row["macs_saved"], 1)}


def _absent(rows: pd.DataFrame, reading: Reading, texts: Texts) -> dict[str, int]:
    """Why layers have no lesion, by layer."""
    its = of_damage(rows, reading.damage)
    none = its[its["amount"].isna() & (its["reason"] != "")]
    return {
        line(name): texts.add(reason)
        for name, reason in zip(none["layer"], none["reason"], strict=True)
    }


def _tolerance(reading: Reading, drop: float) -> str:
    """A tolerance in words.

    The evaluation's own unit has no name.
    """
    return lost(EVALUATION, drop) if reading.column == EVALUATION else points(drop)


def _start(reading: Reading, asked: Sequence[float]) -> int:
    """The tolerance that the page opens with: the study's own, or the next below it."""
    own_drop = reading.aim.max_drop
    at_most = [place for place, drop in enumerate(asked) if drop <= own_drop]
    return at_most[-1] if at_most else 0
