"""Everything that a page shows, as JSON values: names and numbers of a study, and no code."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from lesion.harmless import line
from lesion.network.anatomy import Anatomy
from lesion.reports.page.families import family
from lesion.reports.page.more import checks, classes, pairs, ways
from lesion.reports.page.texts import Texts
from lesion.results.curves import table
from lesion.results.reading import CRITERION, DAMAGE, Reading
from lesion.study.study import Study


def content(
    study: Study,
    readings: Sequence[Reading],
    tolerances: Sequence[float] | None = None,
    class_names: Mapping[int, str] | None = None,
    tradeoff: pd.DataFrame | None = None,
    interactions: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """What the page's script reads.

    layers: in order of execution, with stage and block; families: one for each criterion, damage
    and recovery, see `readings_of`; texts: what is named by number
    """
    texts = Texts()
    rows = table(study, readings)
    return {
        "layers": layers(study.anatomy),
        "families": [family(reading, rows, tolerances, texts) for reading in readings],
        "classes": classes(study, readings, class_names or {}),
        "checks": checks(study),
        "tradeoff": ways(tradeoff),
        "pairs": pairs(interactions),
        "texts": texts.all,
    }


def readings_of(study: Study) -> list[Reading]:
    """What the study holds, each kind of lesions under what was asked of it last, the usual kind
    first.  Raises EvidenceError where there is none."""
    first = Reading.of(study, recovery=_first_recovery(study))
    readings = Reading.each(study, first.column, first.aim.confidence)
    usual = (CRITERION, DAMAGE, "")

    def place(reading: Reading) -> tuple[bool, bool, bool]:
        named = (reading.criterion, reading.damage, reading.recovery)
        return named != usual, named[1] != DAMAGE, named[2] != ""

    return sorted(readings, key=place)


def _first_recovery(study: Study) -> str:
    """That of the first lesions, "" where some have none."""
    ways = dict.fromkeys(lesion.recovery for lesion in study.lesions)
    return "" if "" in ways or not ways else next(iter(ways))


def layers(anatomy: Anatomy) -> list[dict[str, Any]]:
    """The layers in order of execution."""
    return [
        {
            "name": line(layer.name),
            "number": layer.number,
            "stage": layer.stage,
            "block": None if layer.block is None else line(layer.block),
            "position": ", ".join(layer.position),
            "kind": layer.kind,
            "channels": layer.channels,
            "macs": layer.macs,
            "unit": line(anatomy.unit[layer.unit].name),
            "reason": line(anatomy.unit[layer.unit].reason),
        }
        for layer in anatomy.layers
    ]
