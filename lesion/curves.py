"""What each lesion costs: one row a lesion, drops paired image by image, with intervals."""

from typing import Any

import numpy as np
import pandas as pd

from lesion.aim import Aim
from lesion.anatomy import Anatomy
from lesion.deciding import Decisions, Evaluated
from lesion.errors import LesionError
from lesion.intervals import bonett_price, newcombe
from lesion.outcomes import SCORES, Intact, Outcomes
from lesion.plan import Lesion, Skipped
from lesion.study import Study
from lesion.wording import UNMEASURED

NAMES: Any = {
    "layer": str, "number": "Int64", "stage": "Int64", "block": object, "position": str,
    "unit": str, "kind": str, "criterion": str, "recovery": str, "seed": "Int64",
    "rounding": str, "ratio": float, "pruned": "Int64", "channels": "Int64", "images": "Int64",
    "baseline": float, "accuracy": float, "drop": float, "low": float, "high": float,
    "interval": str, "broken": "Int64", "repaired": "Int64", "loss_rise": float, "reason": str,
}  # fmt: skip


def curves(
    study: Study, column: str | None = None, confidence: float = 95,
    decisions: Decisions | Evaluated | None = None,
) -> pd.DataFrame:  # fmt: skip
    """One row a lesion and one a target without lesions, in order of execution, kind and ratio.

    - layer (for a coupled lesion the unit's name), number, stage, block, position, unit, kind,
      criterion, recovery ("" for one-shot), seed, rounding, ratio asked, pruned of channels, images
      seen
    - baseline, accuracy: mean score of the intact and the lesioned network in per cent
    - drop: baseline − accuracy in percentage points, negative where the lesion helps; low, high:
      its interval at `confidence` per cent
    - interval: "fixed" where the lesion has seen all images that the intact network has (of the
      population they are drawn from: Newcombe's for hits, else Bonett and Price's); "anytime"
      where it stopped when the outcomes allowed: then drop and interval are those of the process
      that chose the images, valid whenever one looks; "none" where each lesion has one evaluation
      of its own, see `sweep_whole`: then baseline, accuracy and drop are in that evaluation's unit,
      images is 0, low and high are NaN
    - broken, repaired: images right in the intact, or in the lesioned network only
    - loss_rise: rise of the mean cross-entropy in nats, where all images were seen
    - reason: "" or why there are no numbers; such a row has NaN in their place

    column: the score that is judged, None for the study's own; decisions: those already followed,
    if there are: then other lesions have no rows. Raises LesionError for another column or a
    confidence outside 50 to 100.
    """
    column = column_of(study, column)
    level, failed = proportion(confidence), study.failed
    rows = [_skipped(study.anatomy, target) for target in study.skipped]
    intact, stopped, values = study.intact(), [], study.evaluations
    shown = {*(decisions.lesions if decisions else study.lesions), *failed}
    for lesion in filter(shown.__contains__, study.lesions):
        rows.append({**_place(study.anatomy, lesion.target, lesion.kind), **_amount(lesion)})
        if lesion in values:
            rows[-1].update(_evaluated(values[None], values[lesion]))
            continue
        outcomes = study.outcomes(lesion)
        if lesion in failed or not len(outcomes):
            rows[-1]["reason"] = failed.get(lesion, UNMEASURED)
            continue
        rows[-1].update(_counts(outcomes, intact, column))
        if len(outcomes) == len(intact):
            rows[-1].update(_numbers(outcomes, intact, column, level))
        else:
            stopped.append((lesion, rows[-1]))
    if stopped:
        decisions = decisions or followed(study, column)
        found = decisions.intervals([lesion for lesion, _ in stopped], level)
        baseline = 100 * float(intact.outcomes[column].mean())
        for (_, row), (drop, low, high) in zip(stopped, 100 * found, strict=True):
            row.update(baseline=baseline, accuracy=baseline - drop, drop=drop, low=low, high=high,
                       interval="anytime")  # fmt: skip
    return _tidy(rows, study.anatomy)


def column_of(study: Study, column: str | None) -> str:
    """The score to judge. Raises LesionError for one that the study does not hold."""
    held = [name for name in study.header.columns if name in SCORES]
    if column is None:
        own = str(study.header.settings.get("score", held[0]))
        return own if own in held else held[0]
    if column not in held:
        raise LesionError(f"Expected one of the columns {', '.join(held)}, got {column!r}.")
    return column


def followed(study: Study, column: str) -> Decisions:
    """The study's lesions under the last aim that was asked of them, as far as outcomes go."""
    aims = [aim for aim in study.aims if aim.column == column]
    failed = study.failed
    lesions = [lesion for lesion in study.lesions if lesion not in failed]
    found = Decisions(study, aims[-1] if aims else Aim(column=column), lesions)
    found.follow()
    return found


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
        "criterion": lesion.criterion, "recovery": lesion.recovery, "seed": lesion.seed,
        "rounding": lesion.rounding, "ratio": lesion.amount, "pruned": lesion.pruned,
        "channels": lesion.channels, "interval": "",
    }  # fmt: skip


def _skipped(anatomy: Anatomy, target: Skipped) -> dict[str, Any]:
    place = _place(anatomy, target.target, target.kind)
    texts = dict.fromkeys(("criterion", "recovery", "rounding", "interval"), "")
    return {**place, **texts, "reason": target.reason}


def _counts(outcomes: Outcomes, intact: Intact, column: str) -> dict[str, Any]:
    """How many images were seen, broken and repaired."""
    found: dict[str, Any] = {"images": len(outcomes), "reason": ""}
    lesion = outcomes[column]
    if lesion.dtype == bool:
        base = intact.outcomes[column][outcomes.images]
        found.update(broken=int((base & ~lesion).sum()), repaired=int((~base & lesion).sum()))
    return found


def _evaluated(intact: float, lesioned: float) -> dict[str, Any]:
    return {
        "baseline": intact, "accuracy": lesioned, "drop": intact - lesioned, "interval": "none",
        "reason": "",
    }  # fmt: skip


def paired(base: np.ndarray, lesion: np.ndarray, level: float) -> tuple[float, float, float]:
    """The drop of a lesioned network's scores on all images, and its interval, as proportions.

    Newcombe's method 10 for hits, Bonett and Price's for scores in between.
    """
    if base.dtype == bool:
        counts = (base & lesion, base & ~lesion, ~base & lesion, ~base & ~lesion)
        both, broken, repaired, neither = (int(count.sum()) for count in counts)
        return newcombe(both, broken, repaired, neither, level)
    return bonett_price((base.astype(float) - lesion.astype(float)).tolist(), level)


def _numbers(outcomes: Outcomes, intact: Intact, column: str, level: float) -> dict[str, Any]:
    base, lesion = intact.outcomes[column], outcomes[column]
    drop, low, high = paired(base, lesion, level)
    rise = np.nan
    if "loss" in outcomes.columns:
        rise = float(outcomes["loss"].mean(dtype=float) - intact.outcomes["loss"].mean(dtype=float))
    return {
        "baseline": 100 * base.mean(), "accuracy": 100 * lesion.mean(),
        "drop": 100 * drop, "low": 100 * low, "high": 100 * high, "interval": "fixed",
        "loss_rise": rise,
    }  # fmt: skip


def _tidy(rows: list[dict[str, Any]], anatomy: Anatomy) -> pd.DataFrame:
    """The rows as a frame of fixed columns and types, sorted."""
    frame = pd.DataFrame(rows, columns=list(NAMES)).astype(NAMES)
    frame["images"] = frame["images"].fillna(0)
    at = {name: place for place, name in enumerate(anatomy.layer)}
    starts = {unit.name: at[unit.layers[0]] for unit in anatomy.units if unit.layers}
    place = frame["layer"].map({**starts, **at})
    keys = ["place", "kind", "layer", "criterion", "recovery", "ratio", "rounding", "seed"]
    return frame.assign(place=place).sort_values(keys, ignore_index=True).drop(columns="place")
