"""One reading of a study: what is judged, and under which question, where nothing is named."""

import planted
import pytest

from lesion.errors import EvidenceError, LesionError
from lesion.rates.allocate import by_stage
from lesion.rates.budget import Budget
from lesion.rates.recommend import recommend, within
from lesion.results.advise import advise
from lesion.results.curves import curves, table
from lesion.results.reading import Reading, column_of, last_aim
from lesion.study.aim import Aim
from lesion.study.study import Study

RATIOS = (0.3, 0.6)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two criteria; of the lesions of stage 2 only the first images were seen."""

    def seen(layer, ratio):
        return 300 if layer.stage == 2 else None

    path = tmp_path_factory.mktemp("reading") / "s.lesion"
    with planted.study(path, ratios=RATIOS, criteria=("l2", "l1"), seen=seen) as made:
        made.aim(Aim(2.0, 90))
        yield made


def test_what_is_usual_is_judged_under_what_was_asked_last(study):
    reading = Reading.of(study)
    assert (reading.criterion, reading.damage, reading.recovery) == ("l1", "filters", "")
    assert (reading.column, reading.aim, reading.confidence) == ("top1", Aim(2.0, 90), 95)
    assert {lesion.criterion for lesion in reading.lesions} == {"l1"}
    assert last_aim(study, "top5") == Aim(column="top5") and column_of(study) == "top1"


def test_a_tolerance_is_answered_by_what_decided_on_it_whatever_came_last(tmp_path):
    with planted.study(tmp_path / "s", ratios=RATIOS, images=400) as made:
        for aim in (Aim(1.0), Aim(half_width=2.0)):
            made.aim(aim)
        reading = Reading.of(made)
        assert reading.aim.half_width == 2.0  # intervals are those of the last sweep
        assert reading.asking(None, None).aim == Aim(1.0) == reading.asking(1.0, None).aim
        assert reading.asking(3.0, None).aim == Aim(3.0, half_width=2.0)  # nothing decided on it


def test_the_first_is_judged_where_the_usual_is_missing(tmp_path):
    with planted.study(tmp_path / "s", ratios=RATIOS, criteria=("l2", "fpgm"), images=200) as made:
        assert Reading.of(made).criterion == "l2"


@pytest.mark.parametrize(
    ("named", "text"),
    [
        ({"criterion": "fpgm"}, r"one of the criteria .* \(l2, l1\), got fpgm: .* that criterion"),
        ({"damage": "bits"}, r"one of the kinds of damage .* \(filters\), got bits: .* damage"),
        ({"recovery": "bn"}, r"recovery by bn, but .* others \(one-shot\)"),
        ({"column": "tv"}, "one of the columns top1, top5, agreement, got 'tv'"),
        ({"confidence": 20}, "confidence in per cent"),
    ],
)
def test_what_the_study_does_not_hold_is_refused(study, named, text):
    with pytest.raises(LesionError, match=text):
        Reading.of(study, **named)


def test_a_study_without_lesions_or_images_says_so(tmp_path):
    with Study.create(tmp_path / "s", planted.header(images=20)) as empty:
        with pytest.raises(EvidenceError, match="holds none: lesion curves says"):
            Reading.of(empty)
        found, _ = planted.lesions(empty.anatomy, RATIOS)
        empty.add(found)
        with pytest.raises(EvidenceError, match=r"measured images .* run the sweep first"):
            _ = Reading.of(empty).baseline


def test_another_question_is_another_reading_and_the_same_one_itself(study):
    reading = Reading.of(study, confidence=90)
    assert reading.asking(None, None) is reading
    other = reading.asking(1.0, 99, "layer")
    assert other.aim == Aim(1.0, 99, guarantee="layer") and other.confidence == 99
    assert other.lesions == reading.lesions
    with pytest.raises(LesionError, match="tolerance"):
        reading.asking(-1, None)


def test_one_reading_gives_what_each_function_gives(study):
    reading = Reading.of(study)
    assert advise(reading.asking(None, None)) == recommend(study)
    advice = recommend(study, 1.0, 95)
    assert advise(reading.asking(1.0, 95)) == advice
    assert within(reading, Budget(macs=0.9)) == recommend(study, budget=Budget(macs=0.9))
    expected = by_stage(Reading.of(study), advice)
    assert by_stage(reading.asking(1.0, 95), advice) == expected  # drops by the last aim


def test_the_curves_of_all_readings_are_those_of_the_study(study):
    frame = curves(study)
    for reading in Reading.each(study, None, 95):
        own = table(study, [reading])
        chosen = frame[frame["criterion"].isin(["", reading.criterion])]
        assert own.equals(chosen.reset_index(drop=True))
    assert set(frame["interval"]) == {"", "fixed", "anytime"}


def test_drops_are_in_order_of_execution_and_harm(study):
    reading = Reading.of(study)
    places = {name: place for place, name in enumerate(study.anatomy.layer)}
    order = [(places[lesion.target], lesion.amount) for lesion in reading.drops]
    assert order == sorted(order) and len(order) == len(reading.lesions)
