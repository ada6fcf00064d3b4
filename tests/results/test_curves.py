"""Curves: paired numbers from planted counts, a row for everything, in order of execution."""

import numpy as np
import planted
import pytest

from lesion.errors import LesionError
from lesion.lesions.lesion import Lesion, Skipped
from lesion.results.curves import curves
from lesion.sequential.paired_intervals import newcombe
from lesion.study.aim import Aim
from lesion.study.study import Study
from lesion.sweeps.goals import Decide
from lesion.words import UNMEASURED


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("curves") / "a.lesion"
    with planted.study(path, criteria=("random", "l1"), ratios=(0.9, 0.1)) as study:
        yield study


def row(frame, layer, ratio, criterion="l1"):
    chosen = (frame["layer"] == layer) & (frame["amount"] == ratio)
    return frame[chosen & (frame["criterion"] == criterion)].iloc[0]


def test_numbers_follow_from_the_planted_counts(study):
    frame = curves(study)
    for layer in study.anatomy.layers:
        if layer.name in set(frame.loc[frame["images"] > 0, "layer"]):
            for ratio in (0.1, 0.9):
                broken, repaired = planted.counts(layer, ratio)
                found = row(frame, layer.name, ratio)
                drop, low, high = newcombe(1860 - broken, broken, repaired, 140 - repaired)
                assert (found["broken"], found["repaired"]) == (broken, repaired)
                assert found["baseline"] == pytest.approx(93)
                assert found["accuracy"] == pytest.approx(93 - 100 * drop)
                assert (found["drop"], found["low"], found["high"]) == pytest.approx(
                    (100 * drop, 100 * low, 100 * high)
                )
                assert found["loss_rise"] == pytest.approx(2 * broken / 2000)


def test_measured_rows_lack_only_what_a_planted_study_cannot_have(study):
    frame = curves(study)
    measured = frame[frame["images"] > 0]
    lacking = set(measured.columns[measured.isna().all()])
    assert lacking <= {"bytes_saved", "macs_saved", "dense_macs_saved", "bops_saved", "loss_rise"}
    assert "kendall_tau" not in frame  # of reordered blocks alone, so that dropna() keeps rows


def test_a_negative_drop_stays_negative(study):
    assert row(curves(study), "layer1.0.conv1", 0.1)["drop"] == pytest.approx(-0.1)


def test_rows_are_in_order_of_execution_then_criterion_then_ratio(study):
    frame = curves(study)
    names = list(study.anatomy.layer)
    assert len(frame) == 10 * 2 * 2 + 10
    keys = list(
        zip(frame["layer"].map(names.index), frame["criterion"], frame["amount"], strict=True)
    )
    measured = [key for key in keys if key[1]]
    assert measured == sorted(measured)
    assert list(frame["layer"].map(names.index)) == sorted(frame["layer"].map(names.index))


def test_every_layer_has_a_row_and_those_without_numbers_a_reason(study):
    frame = curves(study)
    assert set(frame["layer"]) == set(study.anatomy.layer)
    assert (frame["drop"].isna() == (frame["reason"] != "")).all()
    assert set(frame.loc[frame["layer"] == "fc", "reason"]) == {"its outputs are the network's"}


def test_a_row_says_where_it_is(study):
    found = row(curves(study), "layer2.0.conv1", 0.9)
    expected = {
        "number": 8, "stage": 2, "block": "layer2.0", "position": "first of stage, down-sampling",
        "unit": "layer2.0.conv1", "kind": "free", "seed": 0, "pruned": 29, "channels": 32,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected


def test_agreement_is_judged_against_itself(study):
    layer = study.anatomy.layer["layer3.1.conv1"]
    found = row(curves(study, "agreement"), layer.name, 0.9)
    assert found["baseline"] == 100
    assert found["drop"] == pytest.approx(100 * sum(planted.counts(layer, 0.9)) / 2000)


def test_more_confidence_is_a_wider_interval(study):
    narrow, wide = curves(study, confidence=80), curves(study, confidence=99)
    measured = narrow["drop"].notna()
    assert (wide["low"] < narrow["low"])[measured].all()
    assert (wide["high"] > narrow["high"])[measured].all()


def test_failed_unmeasured_and_coupled_lesions_have_rows(tmp_path):
    with planted.study(tmp_path / "a.lesion", images=200, ratios=(0.5,)) as study:
        study.fail(study.lesions[1], "its outputs are not finite")
        unit = Lesion("conv1", "coupled", "l1", 0.5, 32, 64)
        study.add([unit], [Skipped("conv1", "branch", "it gates")])
        frame = curves(study)
    failed = row(frame, "layer1.0.conv1", 0.5)
    assert failed["reason"] == "its outputs are not finite"
    assert failed[["drop", "low", "accuracy"]].isna().all()
    coupled = frame[(frame["kind"] == "coupled") & (frame["amount"] == 0.5)].iloc[0]
    assert (coupled["reason"], coupled["images"]) == (UNMEASURED, 0)
    assert (coupled["layer"], coupled["unit"], coupled["channels"]) == ("conv1", "conv1", 64)
    assert coupled[["number", "stage", "block"]].isna().all()
    assert "it gates" in set(frame["reason"])
    assert frame["layer"].iloc[0] == "conv1"


@pytest.fixture(scope="module")
def early(tmp_path_factory):
    """A study that stopped when it could tell, and what each lesion does to all images."""
    base, ratios = planted.intact(4000), (0.2, 0.5, 0.8)
    head = planted.header(images=4000)
    with Study.create(tmp_path_factory.mktemp("early") / "a.lesion", head) as study:
        study.add(*planted.lesions(study.anatomy, ratios))
        whole = {
            one: planted.lesioned(base, *planted.counts(study.anatomy.layer[one.target], one.amount,
                                                        4000), seed=index)
            for index, one in enumerate(study.lesions)
        }  # fmt: skip
        planted.sweep(study, Decide(Aim(2)), base, whole)
        yield study, whole


def test_a_lesion_that_stopped_early_has_an_interval_that_holds_whenever_one_looks(early):
    study, whole = early
    frame, right = curves(study), planted.intact(4000).outcomes["top1"]
    stopped = 0
    for lesion, outcomes in whole.items():
        found, seen = row(frame, lesion.target, lesion.amount), study.outcomes(lesion)
        assert found["images"] == len(seen)
        if not len(seen):
            assert found["reason"] == UNMEASURED and np.isnan(found["drop"])
            continue
        if len(seen) == 4000:
            assert found["interval"] == "fixed"
            continue
        drop = 100 * (right.mean() - outcomes["top1"].mean())
        assert found["interval"] == "anytime"
        assert found["low"] <= drop <= found["high"] and found["low"] <= found["drop"]
        assert found["drop"] <= found["high"] < 100
        assert found["baseline"] == pytest.approx(100 * right.mean())
        assert found["accuracy"] == pytest.approx(found["baseline"] - found["drop"])
        base = right[seen.images]
        assert found["broken"] == (base & ~seen["top1"]).sum()
        assert found["repaired"] == (~base & seen["top1"]).sum()
        assert np.isnan(found["loss_rise"])  # of images of low margin it would say little
        stopped += 1
    assert stopped > 10


def test_more_confidence_is_a_wider_interval_where_a_lesion_stopped_early(early):
    study, _ = early
    narrow, wide = curves(study, confidence=80), curves(study, confidence=99)
    stopped = narrow["interval"] == "anytime"
    assert (wide["low"] <= narrow["low"])[stopped].all()
    assert (wide["high"] > narrow["high"])[stopped].all()


def test_a_lesion_that_saw_fewer_images_than_the_others_stands_beside_them(tmp_path):
    base = planted.intact(300)
    with planted.study(tmp_path / "a.lesion", images=300, ratios=(0.5,), measured=256) as study:
        late = Lesion("layer1.0.conv1", "free", "l1", 0.9, 15, 16)
        study.add([late])
        study.record({late: planted.lesioned(base.take(slice(128)), 20, 1)})
        frame = curves(study)
    found, other = row(frame, "layer1.0.conv1", 0.9), row(frame, "layer1.0.conv1", 0.5)
    assert (found["images"], found["interval"], found["broken"]) == (128, "anytime", 20)
    assert (other["images"], other["interval"]) == (256, "fixed")
    assert found["baseline"] == other["baseline"]
    assert other["baseline"] == pytest.approx(100 * base.outcomes["top1"][:256].mean())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"column": "top3"}, "Expected one of the columns top1, top5, agreement, got 'top3'"),
        ({"confidence": 0.95}, "in per cent, 50 to below 100, such as 95, got 0.95"),
        ({"confidence": 100}, "got 100"),
    ],
)
def test_bad_arguments_are_said(study, arguments, text):
    with pytest.raises(LesionError, match=text):
        curves(study, **arguments)
