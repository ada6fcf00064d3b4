"""What a page shows where it was measured: classes, checks of rates, trade-off, pairs of cuts."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from lesion.errors import EvidenceError
from lesion.harmless import line
from lesion.joint.verification import recorded
from lesion.reports.page.texts import rounded
from lesion.reports.plots.frames import check_columns
from lesion.results.by_class import class_drops
from lesion.results.reading import Reading
from lesion.study.study import Study
from lesion.words import points

MOST = 10  # classes of a lesion, those that lose most first
PAIR = ("first", "second", "interaction", "low", "high", "together", "first_drop", "second_drop")
FAMILY = ["damage", "criterion", "recovery"]


def classes(
    study: Study, readings: Sequence[Reading], names: Mapping[int, str]
) -> dict[str, Any] | None:
    """Of each lesion that saw all images the classes that lose most; None without such lesions.

    names: of classes by label; the label itself for others
    drops: for each family, by "kind/target/amount", pairs of a class's place and points lost
    """
    try:
        frame = class_drops(study, readings[0].column)
    except EvidenceError:
        return None
    sizes = frame.drop_duplicates("label").set_index("label")["images"].sort_index()
    places = {label: place for place, label in enumerate(sizes.index)}
    numbers = {_key(reading): number for number, reading in enumerate(readings)}
    drops: list[dict[str, list[tuple[int, float | None]]]] = [{} for _ in readings]
    columns = [*FAMILY, "kind", "layer", "amount", "label", "drop"]
    for damage, criterion, recovery, kind, layer, amount, label, drop in frame[columns].itertuples(
        index=False
    ):
        cells = drops[numbers[damage, criterion, recovery]]
        key = f"{kind}/{line(layer)}/{amount:g}"
        cells.setdefault(key, []).append((places[label], rounded(drop, 2)))
    return {
        "names": [line(names.get(int(label), f"class {label}")) for label in sizes.index],
        "images": sizes.tolist(),
        "drops": [{key: _worst(every) for key, every in cells.items()} for cells in drops],
    }


def _key(reading: Reading) -> tuple[str, str, str]:
    return reading.damage, reading.criterion, reading.recovery


def _worst(every: list[tuple[int, float | None]]) -> list[tuple[int, float | None]]:
    return sorted(every, key=lambda pair: -(pair[1] or 0.0))[:MOST]


def checks(study: Study) -> list[dict[str, Any]]:
    """The checks of rates on images kept back, see `lesion verify`."""
    return [
        {
            "number": check.number,
            "goal": line(check.allocation.goal),
            "max_drop": points(check.max_drop),
            "verdict": check.verdict,
            "images": check.images,
            "held": check.held,
            "macs": rounded(100 * check.allocation.pruned.macs / check.allocation.intact.macs, 1),
            "predicted": rounded(check.allocation.drop),
            "drop": rounded(check.drop),
            "low": rounded(check.low),
            "high": rounded(check.high),
        }
        for check in recorded(study)
    ]


def ways(frame: pd.DataFrame | None) -> list[dict[str, Any]]:
    """The points of the trade-off, see `lesion.tradeoff`; none where it was not measured."""
    if frame is None:
        return []
    from lesion.reports.plots.tradeoff import tradeoff_table  # with matplotlib, which takes long

    return [
        {
            "way": line(str(row["way"])),
            "tuned": bool(row["tuned"]),
            **{name: rounded(row[name], 3) for name in ("share", "accuracy", "low", "high")},
        }
        for row in tradeoff_table(frame).to_dict("records")
    ]


def pairs(frame: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Pairs of cuts, see `lesion.interactions`; none where they were not measured."""
    if frame is None:
        return []
    check_columns(frame, (*PAIR, "images"))
    return [
        {
            "first": line(str(row["first"])),
            "second": line(str(row["second"])),
            **{name: rounded(row[name], 3) for name in PAIR[2:]},
            "images": int(row["images"]),
        }
        for row in frame.to_dict("records")
    ]
