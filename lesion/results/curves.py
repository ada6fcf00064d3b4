"""Sensitivity curves as a table: one row a lesion, with its drop and interval."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from math import nan
from typing import Any

import pandas as pd

from lesion.compression.footprint import Saving
from lesion.lesions.damage.filters import damage as FILTERS
from lesion.lesions.damage.reorder import damage as REORDER
from lesion.lesions.lesion import Lesion
from lesion.network.anatomy import Anatomy
from lesion.results.by_class import class_drops
from lesion.results.reading import DAMAGE, Reading
from lesion.study.study import Study

NAMES: Any = {
    "layer": str,
    "number": "Int64",
    "stage": "Int64",
    "block": object,
    "position": str,
    "unit": str,
    "kind": str,
    "damage": str,
    "criterion": str,
    "recovery": str,
    "seed": "Int64",
    "rounding": str,
    "amount": float,
    "pruned": "Int64",
    "channels": "Int64",
    "images": "Int64",
    "baseline": float,
    "accuracy": float,
    "drop": float,
    "low": float,
    "high": float,
    "interval": str,
    "broken": "Int64",
    "repaired": "Int64",
    "loss_rise": float,
    "bytes_saved": float,
    "macs_saved": float,
    "dense_macs_saved": float,
    "bops_saved": float,
    "kendall_tau": float,
    "reason": str,
}
ORDER = ["place", "kind", "layer", "damage", "criterion", "recovery", "harm", "rounding", "seed"]


def curves(
    study: Study,
    column: str | None = None,
    confidence: float = 95,
    damage: str | None = None,
    by_class: bool = False,
) -> pd.DataFrame:
    """One row a lesion and one a target without lesions, in order of execution, kind and harm.

    - layer (for a coupled lesion the unit's name, for a block its own; "stage 1", "draw 1"),
      number, stage, block, position, unit, kind, damage, criterion, recovery ("" for one-shot),
      seed, rounding
    - amount: of the damage, in its own unit: of filters the pruning ratio that was asked, of which
      pruned of channels came; of each layer the least harmful first, which for some damages is the
      largest number
    - images seen
    - baseline, accuracy: mean score of the intact and the lesioned network in per cent
    - drop: baseline − accuracy in percentage points, negative where the lesion helps; low, high:
      its interval at `confidence` per cent
    - interval: "fixed" where the lesion has seen all images that the intact network has (of the
      population they are drawn from: Newcombe's for hits, else Bonett and Price's); "anytime"
      where it stopped when the outcomes allowed: then drop and interval are those of the process
      that chose the images, valid whenever one looks.  Where each lesion has one evaluation, see
      `evaluate`, baseline, accuracy and drop are in that evaluation's unit, and the interval is
      "bootstrap", of the population the images are drawn from, where it says what it is made of
      image by image (`SetScore`), else "none": then images is 0, low and high are NaN
    - broken, repaired: images right in the intact, or in the lesioned network only
    - loss_rise: rise of the mean cross-entropy in nats, where all images were seen
    - bytes_saved, macs_saved, dense_macs_saved, bops_saved: per cent of what the layers that the
      lesion changes store, and compute for an image, that it saves: for filters those that fall and
      those that read them, of several blocks all layers of their stage or of the network, else the
      layer; see `lesion.compression.footprint`.  NaN where the study does not know, as of damages
      that do not say
    - kendall_tau: of reordered blocks, by `reorder`, the rank correlation of their order with the
      network's, 1 where all are in place; NaN for other damages, and no column without any
    - reason: "" or why there are no numbers; such a row has NaN in their place

    The table's attrs["damages"] keeps how amounts read, for the pictures.

    column: the score that is judged, None for the study's own; damage: the rows of one kind alone
    by_class: a row a lesion and class instead, see `lesion.results.by_class`
    Raises LesionError for another column or a confidence outside 50 to 100, and EvidenceError by
    class where no lesion has seen all images or these have no labels.
    """
    if by_class:
        return class_drops(study, column, damage)
    return table(study, Reading.each(study, column, confidence, damage))


def table(study: Study, readings: Sequence[Reading]) -> pd.DataFrame:
    """The rows of the readings' lesions, and of targets without lesions."""
    savings = known_savings(study)
    rows = [*_skipped(study), *(row for reading in readings for row in _rows(reading, savings))]
    frame = pd.DataFrame(rows, columns=[*NAMES, "harm"]).astype({**NAMES, "harm": float})
    names = zip(frame["layer"], frame["kind"], strict=True)
    frame = frame.assign(place=[study.anatomy.place(*name) for name in names])
    frame = frame.sort_values(ORDER, ignore_index=True).drop(columns=["place", "harm"])
    if frame["kendall_tau"].isna().all():  # else dropna() leaves no row of other damages' studies
        frame = frame.drop(columns="kendall_tau")
    frame.attrs["damages"] = {
        name: json.dumps(asdict(amounts)) for name, amounts in study.damages.items()
    }
    return frame


def _rows(reading: Reading, savings: Mapping[Lesion, Saving]) -> Iterator[dict[str, Any]]:
    for lesion, drop in reading.drops.items():
        shares = savings[lesion].shares if lesion in savings else {}
        reordered = lesion.damage == REORDER.name
        yield {
            **{f"{name}_saved": 100 * share for name, share in shares.items()},
            **_place(reading.anatomy, lesion.target, lesion.kind),
            **_cut(lesion),
            "harm": reading.amounts.severity(lesion.amount),
            **asdict(drop),
            "kendall_tau": REORDER.kendall_tau(reading.anatomy, lesion) if reordered else nan,
        }


def known_savings(study: Study) -> dict[Lesion, Saving]:
    """What the study knows of each lesion; of filters in a file of before, what their scores
    tell."""
    savings = study.savings
    scores = {} if len(savings) == len(study.lesions) else study.all_scores()
    for lesion in study.lesions:
        key = (lesion.target, lesion.kind, lesion.criterion, lesion.seed)
        if lesion not in savings and lesion.damage == DAMAGE and key in scores:
            saving = FILTERS.footprint(study.anatomy, lesion, scores[key])
            savings |= {lesion: saving} if saving else {}
    return savings


def _place(anatomy: Anatomy, target: str, kind: str) -> dict[str, Any]:
    """Where a target is; a coupled unit has the stage of its layers where that is one."""
    nothing = {"number": None, "stage": None, "block": None, "position": "", "unit": ""}
    wide = {**nothing, "layer": target, "kind": kind, "channels": None}
    if kind == "network":
        return wide
    if kind == "stage":
        return {**wide, "stage": anatomy.stages[target][0].stage}
    if kind == "block":
        block = anatomy.block[target]
        position = ", ".join(block.position)
        return {
            **wide,
            "stage": block.stage,
            "block": target,
            "position": position,
            "unit": block.unit,
        }
    layer = None if kind == "coupled" and target in anatomy.unit else anatomy.layer.get(target)
    if layer is not None:
        return {
            "layer": target,
            "number": layer.number,
            "stage": layer.stage,
            "block": layer.block,
            "position": ", ".join(layer.position),
            "unit": layer.unit,
            "kind": kind,
            "channels": layer.channels,
        }
    unit = anatomy.unit[target]
    stages = {anatomy.layer[name].stage for name in unit.layers}
    stage = stages.pop() if len(stages) == 1 else None
    return {**wide, "stage": stage, "unit": target, "channels": unit.channels}


def _cut(lesion: Lesion) -> dict[str, Any]:
    names = ("damage", "criterion", "recovery", "seed", "rounding", "amount", "pruned", "channels")
    return {name: getattr(lesion, name) for name in names}


def _skipped(study: Study) -> Iterator[dict[str, Any]]:
    texts = dict.fromkeys(("criterion", "recovery", "rounding", "interval"), "")
    damages = study.damages
    for target in study.skipped:
        place = _place(study.anatomy, target.target, target.kind)
        damage, reason = target.told(damages)
        yield {**place, **texts, "damage": damage, "images": 0, "reason": reason}
