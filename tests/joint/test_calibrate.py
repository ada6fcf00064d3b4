"""Upper predictions that are learned from random sets of rates on the network itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unequal import subject as small_subject

from lesion.joint.bench import Bench
from lesion.joint.calibrate import calibrate, random_sets
from lesion.lesions.lesion import Joint
from lesion.rates.budget import Budget
from lesion.rates.calibration import Calibration, limit
from lesion.rates.candidates import candidates, dropped
from lesion.rates.recommend import recommend
from lesion.results.reading import Reading
from lesion.subject.subject import Subject
from lesion.sweeps.sweep import sweep

subject = small_subject
RATIOS = (0.125, 0.25, 0.5, 0.75)


@pytest.fixture
def study(subject, tmp_path):
    with sweep(*subject, tmp_path / "a.lesion", ratios=RATIOS, full=True, holdout=0.5) as made:
        yield made


def test_what_is_learned_is_remembered_and_used(subject, study):
    bench = Bench.of(study, Subject.of(*subject))
    before = recommend(study, budget=Budget(macs=0.6))
    made = calibrate(study, bench, sets=59)
    assert Calibration.from_json(study.calibration) == made
    assert len(made.predicted) == len(made.measured) == 59
    after = recommend(study, budget=Budget(macs=0.6))
    assert after.high == pytest.approx(made.upper(before.high))
    assert "as 59 of them on this network showed" in after.guarantee


def test_the_measured_drops_are_those_of_the_sets(subject, study):
    bench = Bench.of(study, Subject.of(*subject))
    made = calibrate(study, bench, sets=20, seed=3)
    found = candidates(Reading.of(study), Budget())
    drawn = list(random_sets(found, 20, np.random.default_rng(3)))
    intact = bench.intact(study.header.order)
    for one, measured in zip(drawn, made.measured, strict=True):
        joint = Joint(tuple(one))
        gone = dropped(study.anatomy, {unit: found[unit][at] for unit, at in one.items()})
        own = bench.outcomes({joint: gone}, study.header.order, intact)
        lost = intact.outcomes["top1"].mean() - own[joint]["top1"].mean()
        assert measured == pytest.approx(100 * lost)


def test_a_bound_on_the_drop_is_one_on_the_upper_prediction(subject, study):
    calibrate(study, Bench.of(study, Subject.of(*subject)), sets=59)
    found = recommend(study, budget=Budget(macs="least", max_drop=5))
    assert found.cut and found.high <= 5 + 1e-9


@pytest.mark.parametrize("sets", [59, 92, 93, 200])
def test_the_limit_covers_what_it_says(sets):
    """Uniform excesses: the limit itself is the share that it covers; 20 000 studies."""
    draws = np.random.default_rng(sets).random((20_000, sets))
    place = draws[0].tolist().index(limit(draws[0].tolist()))
    rank = int((draws[0] < draws[0, place]).sum())
    covered = np.sort(draws, 1)[:, rank]
    assert (covered < 0.95).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 20_000)
    below = np.sort(draws, 1)[:, rank - 1]
    assert (below < 0.95).mean() > 0.05 - 3 * np.sqrt(0.05 * 0.95 / 20_000)


@given(
    st.lists(st.tuples(st.floats(-2, 60), st.floats(-5, 89)), min_size=59, max_size=59),
    st.floats(0, 60), st.floats(0, 60),
)  # fmt: skip
def test_the_upper_prediction_covers_the_sets_that_it_was_learned_from(sets, one, other):
    """All of 59, whose largest excess is taken; it rises with the prediction, never below it."""
    predicted, measured = zip(*sets, strict=True)
    made = Calibration(predicted, measured, 90.0, 1000)
    for drop, lost in sets:
        assert made.upper(drop) >= lost - 1e-6
    low, high = sorted([one, other])
    assert low <= made.upper(low) <= made.upper(high) + 1e-9


def test_too_few_sets_allow_nothing():
    made = Calibration((10.0,) * 58, (12.0,) * 58, 90.0, 1000)
    assert made.excess == np.inf and made.upper(1.0) == 90.0
    assert made.allowed(5.0) < 0


@given(st.floats(0.2, 80), st.floats(0.5, 5))
def test_what_is_allowed_is_what_the_upper_prediction_inverts(upper, ratio):
    made = Calibration((10.0,) * 59, (10 * ratio,) * 59, 90.0, 1000)
    assert made.upper(made.allowed(upper)) == pytest.approx(upper, abs=1e-6)
