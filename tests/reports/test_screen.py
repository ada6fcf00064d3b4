"""What `lesion watch` shows of planted studies."""

import planted
import pytest

from lesion.lesions.lesion import Lesion
from lesion.reports.screen import Row, View, lines, view
from lesion.results.reading import Reading
from lesion.study.aim import Aim
from lesion.study.study import Study
from lesion.sweeps.goals import Decide

IMAGES = 2000


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    with planted.study(tmp_path_factory.mktemp("s") / "s.lesion", images=IMAGES) as made:
        yield made


@pytest.fixture
def swept(tmp_path):
    """A study as a sweep leaves it after so many works, and the outcomes that it draws from."""

    def sweep(most=None):
        header = planted.header(20, IMAGES)
        study = Study.create(tmp_path / f"{most}.lesion", header)
        chosen, skipped = planted.lesions(header.anatomy, (0.2, 0.5, 0.8))
        study.add(chosen, skipped)
        base = planted.intact(IMAGES)
        outcomes = {
            each: planted.lesioned(
                base, *planted.counts(header.anatomy.layer[each.target], each.amount), seed=place
            )
            for place, each in enumerate(study.lesions)
        }
        planted.sweep(study, Decide(Aim(1.0)), base, outcomes, most)
        return study

    return sweep


def test_all_is_certain_once_all_is_measured(whole):
    seen = view(whole)
    assert seen.answers == seen.most == IMAGES * len(whole.lesions)
    assert (seen.left, seen.certain, len(seen.rows)) == (0, 10, 10)
    reading = Reading.of(whole)
    for row in seen.rows:
        mine = [lesion for lesion in reading.lesions if lesion.target == row.name]
        signs = {"safe": "+", "sensitive": "x", "undecided": "."}
        mine.sort(key=lambda lesion: lesion.amount)
        assert row.signs == "".join(signs[reading.verdicts[each].verdict] for each in mine)
        assert row.images == IMAGES
    advice = whole.recommend()
    stands = {row.name: row.stands for row in seen.rows}
    for entry in advice.layers:
        if entry.layer in stands:
            rate = f"{100 * entry.rate:.4g} %" if entry.rate else "none"
            assert stands[entry.layer] == rate


def test_before_anything_it_says_how_far_the_intact_network_is(tmp_path):
    with Study.create(tmp_path / "s", planted.header(20, 100)) as study:
        study.add(*planted.lesions(study.anatomy, (0.5,)))
        assert lines(view(study))[-1] == "the intact network has seen 0 of 100 images"


def test_on_the_way_it_counts_what_is_left(swept):
    with swept(4) as study:
        seen = view(study)
        assert 0 < seen.answers == study.answers < seen.most and seen.left > 0
        assert seen.certain < len(seen.rows) and 0 < seen.share < 1
        shown = lines(seen, rate=100.0)
    assert f"{seen.certain} of 10 layers certain, the others in about" in shown[3]
    assert "100 a second" in shown[4] and "to go" in shown[4]


def test_it_ends_when_nothing_is_left_and_nothing_comes(swept):
    with swept() as study:
        seen = view(study)
    assert seen.left == 0 and seen.certain == 10 and seen.answers < seen.most
    assert not seen.over(None) and seen.over(seen)
    later = View(seen.titles, seen.answers + 1, seen.most, 0, seen.rows)
    assert not later.over(seen)  # a full sweep goes on


def test_the_lesions_that_were_recorded_last_are_shown(swept):
    with swept() as study:
        other = Lesion("layer1.0.conv1", "layer", "", 4.0, 0, 0, "quantise", "", 0)
        from lesion.lesions.damage import damage

        study.set_damage("quantise", damage("quantise").amounts)
        study.add([other])
        study.record({other: planted.lesioned(planted.intact(IMAGES), 0, 0)})
        seen = view(study)
    assert seen.titles[1].startswith("quantise: at most 1 point")
    assert [row.name for row in seen.rows] == ["layer1.0.conv1"]
    assert (seen.answers, seen.most) == (IMAGES, IMAGES)
    assert seen.amounts == "4 bits … 4 bits"


def rows(*certain):
    return tuple(
        Row(f"layer{place}", "50 %", "+x", 10, settled) for place, settled in enumerate(certain)
    )


def test_what_does_not_fit_goes_where_it_is_certain():
    seen = View(("title",), 10, 20, 5, rows(True, False, True, False), "10 % … 90 %")
    shown = lines(seen, most=8)
    assert len(shown) == 8
    assert [line.split()[0] for line in shown[5:7]] == ["layer1", "layer3"]
    assert (
        shown[-1]
        == "+ safe, x sensitive, . open, or not needed; 10 % … 90 %; 2 more layers not shown"
    )
    assert len(lines(seen)) == 10 and len(lines(seen, most=10)) == 10


def test_columns_are_aligned():
    seen = View(("title",), 10, 20, 0, rows(True, True))
    assert lines(seen)[4:7] == [
        "layer   stands  amounts  images",
        "layer0  50 %    +x           10",
        "layer1  50 %    +x           10",
    ]


def test_of_whole_evaluations_it_counts_those_there_are(tmp_path):
    header = planted.header(
        20, 0, order=(), holdout=(), columns=("evaluation",), classes=0,
        settings={"name": "net", "score": "map"},
    )  # fmt: skip
    with Study.create(tmp_path / "s", header) as study:
        study.add(*planted.lesions(header.anatomy, (0.5,)))
        study.set_evaluation(0.4)
        study.set_evaluation(0.3, study.lesions[0])
        seen = view(study)
    assert (seen.answers, seen.left, seen.certain) == (1, 9, 1)
    assert "1 of 10 layers certain" in lines(seen)[2]
