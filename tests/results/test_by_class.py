"""Drops class by class, against a count by hand."""

import numpy as np
import planted
import pytest

from lesion.errors import EvidenceError, LesionError
from lesion.results.curves import curves


def test_drops_are_counted_within_each_class_and_add_up(tmp_path):
    with planted.study(tmp_path / "s", images=500, ratios=(0.5, 0.9)) as study:
        found = curves(study, by_class=True)
        label, base = study.intact().label, study.intact().outcomes["top1"]
        for lesion in study.lesions:
            own = found[(found["layer"] == lesion.target) & (found["amount"] == lesion.amount)]
            assert own["label"].tolist() == sorted(set(label.tolist()))
            right = study.outcomes(lesion)["top1"]
            for row in own.itertuples():
                inside = label == row.label
                assert row.images == inside.sum()
                assert row.drop == pytest.approx(
                    100 * (base[inside].sum() - right[inside].sum()) / inside.sum()
                )
            whole = 100 * (base.mean() - right.mean())
            assert np.average(own["drop"], weights=own["images"]) == pytest.approx(whole)


def test_lesions_that_stopped_early_do_not_count(tmp_path):
    with (
        planted.study(
            tmp_path / "s", images=500, ratios=(0.5,), seen=lambda layer, ratio: 100
        ) as study,
        pytest.raises(EvidenceError, match="none: measure them by `lesion sweep --full`"),
    ):
        curves(study, by_class=True)
    with (
        planted.study(tmp_path / "t", images=50, ratios=(0.5,)) as study,
        pytest.raises(LesionError, match="one of the columns"),
    ):
        curves(study, "top3", by_class=True)
