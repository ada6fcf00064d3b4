"""Which classes a lesion hurts: drops class by class."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lesion.errors import EvidenceError
from lesion.lesions.lesion import Lesion
from lesion.results.reading import column_of
from lesion.study.study import Study

PLACE = ("layer", "kind", "damage", "criterion", "recovery", "amount")


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
    base = intact.outcomes[column].astype(float)
    labels, rows = np.unique(intact.label, return_inverse=True)
    images = np.bincount(rows)
    before = 100 * np.bincount(rows, base) / images
    failed = study.failed
    measured = [
        lesion
        for lesion in study.lesions
        if damage in (None, lesion.damage)
        and lesion not in failed
        and int(study.seen(lesion).sum()) >= len(intact)
    ]
    if not measured:
        raise EvidenceError(
            f"Expected lesions in {study.path} that have seen all images, but there are none: "
            "measure them by `lesion sweep --full`."
        )
    after = np.concatenate(
        [
            100 * np.bincount(rows, study.outcomes(lesion)[column].astype(float)) / images
            for lesion in measured
        ]
    )
    every = len(measured)
    table = _places(measured, len(labels)).assign(
        label=np.tile(labels, every), images=np.tile(images, every), baseline=np.tile(before, every)
    )
    return table.assign(accuracy=after, drop=table["baseline"] - after)


def _places(lesions: Sequence[Lesion], classes: int) -> pd.DataFrame:
    """Of which lesion each row is; a row a lesion and class."""
    fields = {name: [getattr(lesion, name) for lesion in lesions] for name in PLACE[1:]}
    places = pd.DataFrame({"layer": [lesion.target for lesion in lesions], **fields})
    return places.loc[places.index.repeat(classes)].reset_index(drop=True)
