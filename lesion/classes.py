"""Which classes a lesion hurts: drops class by class."""

from typing import Any

import pandas as pd

from lesion.curves import column_of
from lesion.errors import EvidenceError
from lesion.study import Study

PLACE = ("layer", "kind", "criterion", "recovery", "ratio")
NUMBERS = ("images", "baseline", "accuracy", "drop")


def class_drops(study: Study, column: str | None = None) -> pd.DataFrame:
    """One row a lesion and class: images of the class, and its drop in percentage points.

    Columns layer, kind, criterion, recovery, ratio, label, images, baseline, accuracy, drop.  Only
    lesions that have seen all images count: one that stopped early has seen mostly images of low
    margin, which are no fair sample of a class.

    Raises EvidenceError where no lesion has seen all images or the images have no labels, and
    LesionError for a score that the study does not hold.
    """
    column = column_of(study, column)
    intact, rows = study.intact(), []
    if not len(intact) or (intact.label < 0).all():
        raise EvidenceError(
            f"Expected labelled images in {study.path}, but it holds none: "
            "sweep with labelled data."
        )
    base = pd.DataFrame({"label": intact.label, "base": intact.outcomes[column].astype(float)})
    failed = study.failed
    for lesion in study.lesions:
        if lesion in failed or int(study.seen(lesion).sum()) < len(intact):
            continue
        own = base.assign(lesion=study.outcomes(lesion)[column].astype(float))
        found = own.groupby("label").agg(
            images=("base", "size"), baseline=("base", "mean"), accuracy=("lesion", "mean")
        )
        found[["baseline", "accuracy"]] *= 100
        found["drop"] = found["baseline"] - found["accuracy"]
        place: list[Any] = [
            lesion.target, lesion.kind, lesion.criterion, lesion.recovery, lesion.amount
        ]  # fmt: skip
        for at, (name, value) in enumerate(zip(PLACE, place, strict=True)):
            found.insert(at, name, value)
        rows.append(found.reset_index()[[*PLACE, "label", *NUMBERS]])
    if not rows:
        raise EvidenceError(
            f"Expected lesions in {study.path} that have seen all images, but there are none: "
            "measure them by `lesion sweep --full`."
        )
    return pd.concat(rows, ignore_index=True)
