"""The error that a study may make: all its claims together, whatever is asked, spend no more."""

import runpy
from dataclasses import replace
from math import isclose
from pathlib import Path

import numpy as np
import planted
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesion.errors import LesionError
from lesion.lesions.lesion import Lesion
from lesion.lesions.ratios import kept
from lesion.rates.recommend import recommend
from lesion.results.curves import curves
from lesion.sequential import Stratified
from lesion.sequential.question import Question
from lesion.study.aim import Aim
from lesion.study.error_shares import PLANNED, Plan, planned, shares, tolerance
from lesion.study.merge import merge
from lesion.study.study import Study
from lesion.sweeps.goals import Decide

GROWING = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "growing.py"))
RATIOS = (0.2, 0.5, 0.8)
IMAGES = 1000


def every_lesion(anatomy, seeds=3):
    """Every cut that a criterion can make, under several names where ratios cut equally many."""
    for layer in anatomy.layers:
        kinds = {anatomy.unit[layer.unit].kind, "branch"} - {"tied", "coupled"}
        for kind in kinds:
            for ratio in sorted({*RATIOS, *np.arange(0.01, 1, 0.01).round(2).tolist()}):
                for rounding in ("floor-kept", "nearest"):
                    fallen = layer.channels - kept(layer.channels, ratio, rounding)
                    for seed in range(seeds):
                        yield Lesion(
                            layer.name,
                            kind,
                            "l1",
                            ratio,
                            fallen,
                            layer.channels,
                            rounding=rounding,
                            seed=seed,
                        )


@pytest.mark.parametrize("chosen", [1, 4, None])
@pytest.mark.parametrize("alone", [False, True])
def test_shares_of_all_lesions_there_could_be_sum_to_alpha_at_most(chosen, alone):
    anatomy = planted.anatomy()
    lesions = planted.lesions(anatomy, RATIOS)[0]
    names = list(dict.fromkeys(one.target for one in lesions))[:chosen]
    plan = Plan.of([one for one in lesions if one.target in names], Aim(), IMAGES)
    cuts: dict[tuple, float] = {}
    for one in every_lesion(anatomy):  # a cut under several names is one event
        key = (one.target, one.kind, one.pruned, one.seed)
        cuts[key] = max(cuts.get(key, 0.0), plan.weight(one, anatomy, alone))
    total: dict[str, float] = {}
    for key, weight in cuts.items():
        group = key[:2] if alone else "study"
        total[group] = total.get(group, 0.0) + weight
    assert max(total.values()) <= 1
    assert max(total.values()) > PLANNED


@settings(max_examples=6, deadline=None)
@given(
    st.sampled_from([0.5, 1.0, 2.0, 0.37]), st.sampled_from([100, IMAGES]), st.booleans(),
    st.sampled_from(["top1", "tv"]),
)  # fmt: skip
def test_shares_of_all_questions_sum_to_one_at_most(max_drop, images, narrow, column):
    aim = Aim(max_drop, column=column, half_width=0.5 * narrow)
    plan = Plan.of(planted.lesions(planted.anatomy(), RATIOS)[0], aim, images)
    drops = {max_drop, *(number / 100 for number in range(1, 301)), *range(10, 100)}
    asked = [
        replace(aim, max_drop=drop, column=score, half_width=width)
        for drop in sorted(drops)
        for score in ("top1", "top5", "agreement", "tv", "score", "evaluation")
        for width in (0.0, 0.5)
    ]
    total = sum(
        plan.asked(each, seen, IMAGES) * (1 if seen in (images, IMAGES) else IMAGES - 2)
        for each in asked
        for seen in {images, IMAGES, 7}
    )
    assert PLANNED < total <= 1


def test_tolerances_sum_to_one_at_most():
    numbers = {
        float(f"{mantissa}e{power}") for mantissa in range(1, 10000) for power in range(-9, 6)
    }
    assert 0.8 < sum(map(tolerance, numbers)) < 1


def test_a_study_that_is_planned_once_loses_next_to_nothing(tmp_path):
    with planted.study(tmp_path / "a", images=IMAGES, ratios=RATIOS) as study:
        lesions = study.lesions
        planned(study, lesions, Aim(), IMAGES)
        each = shares(study, Aim(), lesions, IMAGES)
    assert len(set(each.round(12))) == len({one.channels for one in lesions})
    assert (each >= PLANNED**2 * 0.05 / len(lesions)).all()
    assert (each <= 0.05 / len(lesions)).all()


def test_what_was_promised_stays_whatever_is_added_or_asked(tmp_path):
    anatomy = planted.anatomy()
    first, second = (planted.lesions(anatomy, ratios)[0] for ratios in (RATIOS, (0.4,)))
    with Study.create(tmp_path / "a", planted.header()) as study:
        planned(study, first, Aim(), IMAGES)
        study.add(first)
        before = shares(study, Aim(), first, IMAGES)
        planned(study, second, Aim(2.0), IMAGES)
        study.add(second)
        study.aim(Aim(2.0))
        assert np.array_equal(shares(study, Aim(), first, IMAGES), before)
        added = shares(study, Aim(), second, IMAGES)
        assert (added > 0).all() and before.sum() + added.sum() <= 0.05
        other = shares(study, Aim(2.0), first, IMAGES)
        assert (other > 0).all() and before.sum() + added.sum() + other.sum() <= 0.05


def test_copies_that_grow_apart_spend_one_error(tmp_path):
    anatomy = planted.anatomy()
    lesions = planted.lesions(anatomy, RATIOS)[0]
    with Study.create(tmp_path / "a", planted.header()) as study:
        planned(study, lesions[:3], Aim(), IMAGES)
        study.add(lesions[:3])
    spent = shares_of(tmp_path / "a", lesions[:3])
    for place in range(3, len(lesions), 3):
        (tmp_path / "b").write_bytes((tmp_path / "a").read_bytes())
        with Study.open(tmp_path / "b") as copy:
            planned(copy, lesions[place : place + 3], Aim(), IMAGES)
            copy.add(lesions[place : place + 3])
        spent += shares_of(tmp_path / "b", lesions[place : place + 3])
    assert spent <= 0.05


def shares_of(path, lesions):
    with Study.open(path) as study:
        return float(shares(study, Aim(), lesions, IMAGES).sum())


def test_joined_studies_share_one_error_and_the_order_of_joining_changes_nothing(tmp_path):
    lesions = planted.lesions(planted.anatomy(), RATIOS)[0]
    base = planted.intact(2000)
    for name, part in (("a", lesions[:3]), ("b", lesions[3:9]), ("c", lesions[9:12])):
        with Study.create(tmp_path / name, planted.header()) as study:
            planned(study, part, Aim(), 2000)
            study.add(part)
            planted.record(study, base, {}, 2000)
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "ab")
    merge([tmp_path / "ab", tmp_path / "c"], tmp_path / "left")
    merge([tmp_path / "b", tmp_path / "c"], tmp_path / "bc")
    merge([tmp_path / "bc", tmp_path / "a"], tmp_path / "right")
    ways = []
    for name in ("left", "right"):
        with Study.open(tmp_path / name) as study:
            assert len(study.plans) == 3
            ways.append(shares(study, Aim(), lesions[:12], 2000))
    assert ways[0] == pytest.approx(ways[1], rel=1e-12)
    assert isclose(ways[0][0], PLANNED**2 * 0.05 / 3 / 3, rel_tol=0.02)  # a third of its own
    assert ways[0].sum() <= 0.05


def test_what_is_safe_at_a_tolerance_is_safe_at_a_larger_one_for_nothing(tmp_path):
    def counts(layer, ratio):
        return (0, 0) if ratio < 0.6 else (400, 0)

    base = planted.intact(2000)
    lesions = planted.lesions(planted.anatomy(), RATIOS)[0]
    with Study.create(tmp_path / "a", planted.header()) as study:
        planned(study, lesions, Aim(1.0), 2000)
        study.add(lesions)
        whole = {
            one: planted.lesioned(base, *counts(None, one.amount), seed=place)
            for place, one in enumerate(lesions)
        }
        planted.sweep(study, Decide(Aim(1.0)), base, whole)
        seen = curves(study)["images"].max()
        assert seen < 2000, "all images were seen: the case tells nothing"
        first = recommend(study, 1.0)
        assert set(first.rates.values()) == {0.5}
        assert recommend(study, 1.37).rates == first.rates


def test_cells_may_have_errors_of_their_own():
    base = np.ones(2000)
    question = Question(0.01, base, np.linspace(0.1, 5, 2000), hits=True)
    apart, together = (Stratified(question, [0, 0]) for _ in range(2))
    scores = np.ones((2, 2000))
    for process in (apart, together):
        while (process.seen < 1000).all():
            process.follow(np.arange(2), scores)
    levels = np.array([1e-2, 1e-5])
    expected = [apart.decided_at(level)[cell] for cell, level in enumerate(levels)]
    assert np.array_equal(together.decided_at(levels), np.stack(expected))
    assert together.decided_at(levels)[0, 0] < together.decided_at(levels)[1, 0]
    with pytest.raises(LesionError, match=r"Expected one alpha, or one for each of 2 cells"):
        together.verdicts(np.ones(3))


@pytest.mark.parametrize("way", GROWING["WAYS"])
def test_simulated_studies_that_grow_keep_the_guarantee(way):
    wrong = sum(GROWING["wrong"](way, 300, 3, 0, number) for number in range(3))
    assert wrong <= 1  # two of three come with probability 0.008 at most


@pytest.mark.complete
@pytest.mark.parametrize("way", GROWING["WAYS"])
def test_many_simulated_studies_that_grow_keep_the_guarantee(way):
    wrong = sum(GROWING["wrong"](way, 1000, 5, 0, number) for number in range(200))
    assert wrong <= 19  # more come with probability 0.003 at most
