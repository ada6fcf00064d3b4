"""What each lesion costs: one row a lesion, drops paired image by image, with intervals."""

from functools import cache
from typing import Any

import pandas as pd

from lesion.anatomy import Anatomy
from lesion.errors import LesionError
from lesion.intervals import newcombe
from lesion.outcomes import COLUMNS, Intact, Outcomes
from lesion.plan import Lesion, Skipped
from lesion.study import Study

UNMEASURED = "not measured yet"
NAMES: Any = {
    "layer": str, "number": "Int64", "stage": "Int64", "block": object, "position": str,
    "unit": str, "kind": str, "criterion": str, "seed": "Int64", "rounding": str, "ratio": float,
    "pruned": "Int64", "channels": "Int64", "images": "Int64", "baseline": float,
    "accuracy": float, "drop": float, "low": float, "high": float, "broken": "Int64",
    "repaired": "Int64", "loss_rise": float, "reason": str,
}  # fmt: skip


def curves(study: Study, column: str = "top1", confidence: float = 95) -> pd.DataFrame:
    """One row a lesion and one a target without lesions, in order of execution, kind and ratio.

    - layer (for a coupled lesion the unit's name), number, stage, block, position, unit, kind,
      criterion, seed, rounding, ratio asked, pruned of channels, images
    - baseline, accuracy: of the intact and the lesioned network on the same images, in per cent
    - drop: baseline − accuracy in percentage points, negative where the lesion helps; low, high:
      Newcombe's interval at `confidence` per cent
    - broken, repaired: images right in the intact, or in the lesioned network only
    - loss_rise: rise of the mean cross-entropy in nats
    - reason: "" or why there are no numbers; such a row has NaN in their place

    `column` is the score that is judged: "top1", "top5" or "agreement" (whose baseline is 100).
    Raises LesionError for another column or a confidence outside 50 to 100.
    """
    if column not in COLUMNS:
        raise LesionError(f"Expected one of the columns {', '.join(COLUMNS)}, got {column!r}.")
    level, failed, intact = proportion(confidence), study.failed, cache(study.intact)
    rows = [_skipped(study.anatomy, target) for target in study.skipped]
    for lesion in study.lesions:
        rows.append({**_place(study.anatomy, lesion.target, lesion.kind), **_amount(lesion)})
        outcomes = study.outcomes(lesion)
        if lesion in failed or not len(outcomes):
            rows[-1]["reason"] = failed.get(lesion, UNMEASURED)
        else:
            rows[-1].update(_numbers(outcomes, intact(len(outcomes)), column, level))
    return _tidy(rows, study.anatomy)


def proportion(confidence: float) -> float:
    """A confidence in per cent as a proportion. Raises LesionError outside 50 to 100."""
    if not 50 <= confidence < 100:
        raise LesionError(
            f"Expected a confidence in per cent, 50 to below 100, such as 95, got {confidence}."
        )
    return confidence / 100


def _place(anatomy: Anatomy, target: str, kind: str) -> dict[str, Any]:
    """Where a target is; a coupled unit has the stage of its layers where that is one."""
    layer = None if kind == "coupled" and target in anatomy.unit else anatomy.layer.get(target)
    if layer is not None:
        return {
            "layer": target, "number": layer.number, "stage": layer.stage, "block": layer.block,
            "position": ", ".join(layer.position), "unit": layer.unit, "kind": kind,
            "channels": layer.channels,
        }  # fmt: skip
    unit = anatomy.unit[target]
    stages = {anatomy.layer[name].stage for name in unit.layers}
    return {
        "layer": target, "number": None, "stage": stages.pop() if len(stages) == 1 else None,
        "block": None, "position": "", "unit": target, "kind": kind, "channels": unit.channels,
    }  # fmt: skip


def _amount(lesion: Lesion) -> dict[str, Any]:
    return {
        "criterion": lesion.criterion, "seed": lesion.seed, "rounding": lesion.rounding,
        "ratio": lesion.amount, "pruned": lesion.pruned, "channels": lesion.channels,
    }  # fmt: skip


def _skipped(anatomy: Anatomy, target: Skipped) -> dict[str, Any]:
    place = _place(anatomy, target.target, target.kind)
    return {**place, "criterion": "", "rounding": "", "reason": target.reason}


def _numbers(outcomes: Outcomes, intact: Intact, column: str, level: float) -> dict[str, Any]:
    base, lesion = getattr(intact.outcomes, column), getattr(outcomes, column)
    both, broken = int((base & lesion).sum()), int((base & ~lesion).sum())
    repaired, neither = int((~base & lesion).sum()), int((~base & ~lesion).sum())
    drop, low, high = newcombe(both, broken, repaired, neither, level)
    return {
        "images": len(base), "baseline": 100 * base.mean(), "accuracy": 100 * lesion.mean(),
        "drop": 100 * drop, "low": 100 * low, "high": 100 * high,
        "broken": broken, "repaired": repaired,
        "loss_rise": (outcomes.loss - intact.outcomes.loss) / len(base), "reason": "",
    }  # fmt: skip


def _tidy(rows: list[dict[str, Any]], anatomy: Anatomy) -> pd.DataFrame:
    """The rows as a frame of fixed columns and types, sorted."""
    frame = pd.DataFrame(rows, columns=list(NAMES)).astype(NAMES)
    frame["images"] = frame["images"].fillna(0)
    at = {name: place for place, name in enumerate(anatomy.layer)}
    starts = {unit.name: at[unit.layers[0]] for unit in anatomy.units if unit.layers}
    place = frame["layer"].map({**starts, **at})
    keys = ["place", "kind", "layer", "criterion", "ratio", "rounding", "seed"]
    return frame.assign(place=place).sort_values(keys, ignore_index=True).drop(columns="place")
