"""Which classes a lesion hurts: drops class by class."""

import pandas as pd

from lesion.errors import EvidenceError
from lesion.lesions.lesion import Lesion
from lesion.results.reading import column_of
from lesion.study.study import Study

PLACE = ("layer", "kind", "damage", "criterion", "recovery", "amount")
NUMBERS = ("images", "baseline", "accuracy", "drop")


def class_drops(study: Study, column: str | None = None, damage: str | None = None) -> pd.DataFrame:
    """One row a lesion and class: images of the class, and its drop in percentage points.

    Columns layer, kind, damage, criterion, recovery, amount (of the damage, see `lesion.curves`),
    label, images, baseline, accuracy, drop.  Only lesions that have seen all images count: one that
    stopped early has seen mostly images of low margin, which are no fair sample of a class.

    damage: lesions of one kind alone
    Raises EvidenceError where no lesion has seen all images or the images have no labels, and
    LesionError for a score that the study does not hold.
    """
    column = column_of(study, column)
    intact = study.intact()
    if not len(intact) or (intact.label < 0).all():
        raise EvidenceError(
            f"Expected labelled images in {study.path}, but it holds none: "
            "sweep with labelled data."
        )
    base = pd.DataFrame({"label": intact.label, "base": intact.outcomes[column].astype(float)})
    failed = study.failed
    parts = [
        _of_lesion(lesion, base.assign(lesion=study.outcomes(lesion)[column].astype(float)))
        for lesion in study.lesions
        if damage in (None, lesion.damage)
        and lesion not in failed
        and int(study.seen(lesion).sum()) >= len(intact)
    ]
    if not parts:
        raise EvidenceError(
            f"Expected lesions in {study.path} that have seen all images, but there are none: "
            "measure them by `lesion sweep --full`."
        )
    return pd.concat(parts, ignore_index=True)


def _of_lesion(lesion: Lesion, scores: pd.DataFrame) -> pd.DataFrame:
    """scores: a row an image, with its label and what the intact and lesioned networks have."""
    table = scores.groupby("label").agg(
        images=("base", "size"), baseline=("base", "mean"), accuracy=("lesion", "mean")
    )
    table[["baseline", "accuracy"]] *= 100
    table["drop"] = table["baseline"] - table["accuracy"]
    place = {"layer": lesion.target, **{name: getattr(lesion, name) for name in PLACE[1:]}}
    table = table.assign(**place)
    return table.reset_index()[[*PLACE, "label", *NUMBERS]]
