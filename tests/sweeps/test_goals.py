"""What a sweep finds out: verdicts, widths, everything, and one after the other."""

from dataclasses import replace

import numpy as np
import pytest
from unequal import IMAGES
from unequal import subject as unequal_subject

from lesion import sequential
from lesion.errors import LesionError
from lesion.rates.recommend import recommend
from lesion.results.curves import curves
from lesion.study.aim import Aim
from lesion.study.decisions import Decisions
from lesion.study.error_shares import PLANNED
from lesion.subject.subject import Subject
from lesion.sweeps.choices import Choices
from lesion.sweeps.goals import Chart, Decide, Full, Narrow, aimed
from lesion.sweeps.prepare import prepare
from lesion.sweeps.sweep import sweep

subject = unequal_subject

RATIOS = (0.125, 0.25, 0.5, 0.75)


def run(subject, path, **options):
    """A sweep with all images scored, and how many lesioned answers it gave."""
    steps = []
    study = sweep(
        *subject, path, holdout=0, ratios=RATIOS, progress=steps.append, **options
    )  # fmt: skip
    return study, steps


def answers(study):
    """Which answers a study holds."""
    return {one.key: tuple(study.outcomes(one).images.tolist()) for one in study.lesions}


def total(study):
    return sum(map(len, answers(study).values()))


def scores(study):
    return {one.key: study.outcomes(one)["top1"].tolist() for one in study.lesions}


def drops(study):
    base = study.intact().outcomes["top1"]
    return {one: 100 * (base.mean() - study.outcomes(one)["top1"].mean()) for one in study.lesions}


@pytest.fixture(scope="module")
def full(subject, tmp_path_factory):
    with run(subject, tmp_path_factory.mktemp("full") / "s", full=True)[0] as study:
        yield study


@pytest.mark.parametrize("order", ["margin", "uniform"])
@pytest.mark.parametrize("tolerance", [2.5, 5.0])
def test_verdicts_are_those_of_all_images_from_fewer(subject, full, tmp_path, order, tolerance):
    study, _ = run(subject, tmp_path / "s", max_drop=tolerance, order=order)
    with study:
        decided = Decisions(study, Aim(tolerance), study.lesions).decisions()
        truth = drops(full)
        for lesion, decision in decided.items():
            if decision.verdict != "undecided":
                assert decision.verdict == ("safe" if truth[lesion] <= tolerance else "sensitive")
        assert total(study) < total(full)
        assert recommend(study).rates == recommend(full, tolerance).rates


def test_every_boundary_is_certified_on_both_sides(subject, full, tmp_path):
    study, _ = run(subject, tmp_path / "s", max_drop=5.0)
    with study:
        decided = Decisions(study, Aim(5.0), study.lesions).decisions()
        for target in {one.target for one in study.lesions}:
            own = [decided[one].verdict for one in study.lesions if one.target == target]
            safe = max((i for i, verdict in enumerate(own) if verdict == "safe"), default=-1)
            assert safe == len(own) - 1 or own[safe + 1] == "sensitive"


def test_a_forecast_renewed_for_some_lesions_is_that_of_all_at_once(full):
    decisions = Decisions(full, Aim(5.0), full.lesions)
    for some in (full.lesions, full.lesions[:3], full.lesions[2:6], full.lesions[:0]):
        decisions.look(some)
        renewed = decisions.forecast()
        whole = decisions.process.forecast(decisions.places(full.lesions), decisions.alpha)
        assert (whole.images > 0).any()
        assert all(map(np.array_equal, renewed, whole))


def test_a_study_goes_from_aim_to_aim_and_measures_the_difference(subject, full, tmp_path):
    held = 0
    for options in (
        {"max_drop": 10.0}, {"max_drop": 5.0}, {"half_width": 3.0}, {"full": True}, {"full": True},
    ):  # fmt: skip
        study, steps = run(subject, tmp_path / "s", **options)
        with study:
            given = steps[-1].done if steps else 0
            intact = IMAGES if held == 0 else 0
            assert given == total(study) - held + intact
            held = total(study)
            if "half_width" in options:
                found = curves(study)
                assert (found["high"] - found["low"]).max() <= 2 * options["half_width"] + 1e-9
    with study.open(tmp_path / "s") as last:
        assert scores(last) == scores(full)
        pd_last, pd_full = curves(last), curves(full)
        assert pd_last.equals(pd_full)


@pytest.mark.parametrize(
    "options",
    [{"max_drop": 5.0}, {"half_width": 4.0}, {"full": True}],
    ids=["decide", "narrow", "full"],
)
def test_neither_memory_nor_interruption_changes_what_is_measured(subject, tmp_path, options):
    whole, steps = run(subject, tmp_path / "whole", **options)
    with whole:
        wanted, found = answers(whole), scores(whole)
    small, _ = run(subject, tmp_path / "small", memory="300K", **options)
    with small:
        assert (answers(small), scores(small)) == (wanted, found)

    class Stop(Exception):
        pass

    for stop in (1, len(steps) // 2, len(steps) - 1):
        path = tmp_path / f"stopped {stop}"
        seen = []

        def halt(step, seen=seen, stop=stop):
            seen.append(step)
            if len(seen) == stop:
                raise Stop

        with pytest.raises(Stop):
            sweep(*subject, path, holdout=0, ratios=RATIOS, progress=halt, **options)
        again, _ = run(subject, path, **options)
        with again:
            assert (answers(again), scores(again)) == (wanted, found)


def test_what_cannot_be_aimed_at_is_refused():
    with pytest.raises(LesionError, match="above 0 and below 100, such as 1, got 0"):
        Decide(Aim(0.0)).check()
    with pytest.raises(LesionError, match="above 50 and below 100, such as 95, got 50"):
        Decide(Aim(confidence=50)).check()
    with pytest.raises(LesionError, match=r"half-width above 0 points, such as 0\.5, got -1"):
        aimed(1, 95, "top1", -1, False)
    with pytest.raises(LesionError, match="either a half-width or a full sweep, got both"):
        aimed(1, 95, "top1", 0.5, True)
    with pytest.raises(LesionError, match=r"Expected a score top1, .*, got 'top2'"):
        Narrow(Aim(column="top2")).check()
    with pytest.raises(LesionError, match="Expected a guarantee study or layer, got 'none'"):
        Decide(replace(Aim(), guarantee="none")).check()
    Full().check()


def test_too_few_images_are_told_before_any_work(subject, tmp_path):
    choices = Choices(RATIOS, holdout=0, estimand="population")
    ready = prepare(Subject.of(*subject), tmp_path / "s", choices, Decide(Aim(2.0)))
    with ready.study:
        assert not ready.warnings
    ready = prepare(Subject.of(*subject), tmp_path / "t", choices, Decide(Aim(1.0)))
    with ready.study:
        (warning,) = ready.warnings
    shares = np.array([0.01, 0.03, 0.08, 0.2, 0.4, 0.65, 0.9, 1])  # of the largest bet 1 / 0.99
    wealth = (1 + shares * 0.01 / 0.99) ** np.arange(2000)[:, None]
    ends = 0.05 / 8, 0.05 * PLANNED**2 / 8  # 8 lesions share the error, or nearly all of it
    least, most = (int((wealth.mean(1) >= 1 / alpha).argmax()) for alpha in ends)
    assert sequential.fewest(0.01, ends[0]) < least
    assert "600 images are too few to call any of 8 lesions safe at 1 point" in warning
    assert any(f"it takes {needed};" in warning for needed in range(least, most + 1))


def test_nothing_is_called_safe_from_fewer_images_than_the_floor(subject, tmp_path):
    from lesion.study.decisions import least_images

    with run(subject, tmp_path / "s", max_drop=10.0)[0] as study:
        decided = Decisions(study, Aim(10.0), study.lesions).decisions()
        least = least_images(study, Aim(10.0), IMAGES)
        safe = [decision.images for decision in decided.values() if decision.verdict == "safe"]
        assert safe and least is not None and min(safe) >= least


def test_a_chart_agrees_with_the_verdicts_and_is_as_narrow_as_asked(subject, tmp_path):
    """Every lesion is decided, or known as closely, by the process that decided; the verdicts that
    stood still stand, and a second time nothing is left to do."""
    study, _ = run(subject, tmp_path / "s", max_drop=5.0)
    with study:
        decided = Decisions(study, Aim(5.0), study.lesions).decisions()
    for _ in range(2):
        ready = prepare(Subject.of(*subject), tmp_path / "s", Choices(RATIOS, holdout=0),
                        Chart(Aim(5.0), 6.0))  # fmt: skip
        with ready.study as charted:
            steps = sum(1 for _ in ready)
            now = Decisions(charted, Aim(5.0), charted.lesions)
            charts, held = now.decisions(), total(charted)
            widths = 100 * np.ptp(now.intervals(charted.lesions, 0.95)[:, 1:], axis=1)
            table = curves(charted).set_index(["layer", "amount"])
    assert steps == 0
    for each, width in zip(now.lesions, widths, strict=True):
        if decided[each].verdict != "undecided":
            assert charts[each].verdict == decided[each].verdict
        assert charts[each].verdict != "undecided" or width <= 12
        row = table.loc[(each.target, each.amount)]
        assert row["high"] - row["low"] == pytest.approx(width, abs=1e-9)
    assert held < IMAGES * len(now.lesions)
