"""What a study has measured only ever grows: unions, contradictions, another process's writing."""

import sqlite3
from dataclasses import replace

import numpy as np
import planted
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesion.errors import StudyError
from lesion.study.ledger import joined
from lesion.study.study import Study
from lesion.subject.outcomes import Outcomes

IMAGES = 60
BASE = planted.intact(IMAGES)


@pytest.fixture
def study(tmp_path):
    """A study of 60 images that the intact network has seen, with lesions and no outcomes."""
    with Study.create(tmp_path / "a.lesion", planted.header(images=IMAGES)) as study:
        study.add(planted.lesions(study.anatomy, (0.5,))[0])
        study.record({}, BASE)
        yield study


@pytest.fixture
def fresh(tmp_path):
    """A study of 60 images without any rows."""
    with Study.create(tmp_path / "b.lesion", planted.header(images=IMAGES)) as study:
        study.add(planted.lesions(study.anatomy, (0.5,))[0])
        yield study


def whole(seed=0):
    """A lesion's outcomes on all images."""
    return planted.lesioned(BASE, 20, 2, seed)


def some(*images, seed=0):
    return whole(seed).take(np.array(images, int))


def altered(outcomes, **columns):
    """The outcomes with other columns."""
    return Outcomes(outcomes.images, {**outcomes.columns, **columns})


def assert_equal(outcomes, wanted):
    assert np.array_equal(outcomes.images, wanted.images)
    for name in planted.COLUMNS:
        assert np.array_equal(outcomes[name], wanted[name], equal_nan=name == "loss"), name


def rows(study, table="outcomes"):
    """A table as it lies in the file, by row number."""
    with sqlite3.connect(study.path) as connection:
        values = connection.execute(f"SELECT rowid, * FROM {table}")
        return {row[0]: row[1:] for row in values}


def test_what_is_recorded_comes_back_from_the_file(study):
    recorded = {
        lesion: planted.lesioned(BASE, 10 + index, index % 3, seed=index)
        for index, lesion in enumerate(study.lesions)
    }
    study.record(recorded)
    with Study.open(study.path) as again:
        for lesion, outcomes in recorded.items():
            assert_equal(again.outcomes(lesion), outcomes)
        intact = again.intact()
        assert_equal(intact.outcomes, BASE.outcomes)
        for name in ("label", "prediction", "margin", "digest"):
            assert np.array_equal(getattr(intact, name), getattr(BASE, name))


SETS = st.lists(
    st.lists(st.integers(0, IMAGES - 1), unique=True).map(sorted), min_size=1, max_size=6
)


@settings(max_examples=30, deadline=None)
@given(parts=SETS, which=st.integers(0, 2))
def test_a_lesion_holds_the_union_of_its_parts_each_image_once(parts, which, tmp_path_factory):
    path = tmp_path_factory.mktemp("union") / "a.lesion"
    with Study.create(path, planted.header(images=IMAGES)) as study:
        study.add(planted.lesions(study.anatomy, (0.5,))[0])
        study.record({}, BASE)
        lesion, before = study.lesions[which], {}
        for number, part in enumerate(parts):
            study.record({lesion: some(*part)})
            union = sorted(set().union(*parts[: number + 1]))
            assert_equal(study.outcomes(lesion), some(*union))
            assert np.flatnonzero(study.seen(lesion)).tolist() == union
            now = rows(study)
            assert {key: now[key] for key in before} == before  # nothing written changes
            assert sum(row[1] for row in now.values()) == len(union)
            before = now
        rest = [cell for cell in study.lesions if cell != lesion]
        assert not any(study.seen(cell).any() or len(study.outcomes(cell)) for cell in rest)


def test_writing_the_same_again_changes_nothing(study):
    lesion = study.lesions[0]
    study.record({lesion: some(3, 7, 50)}, BASE)
    before = list(sqlite3.connect(study.path).iterdump())
    for part in (some(3, 7, 50), some(7), some()):
        study.record({lesion: part}, BASE.take(slice(20, 40)))
    assert list(sqlite3.connect(study.path).iterdump()) == before


def test_what_is_seen_is_the_callers_own_copy(study):
    lesion = study.lesions[0]
    study.record({lesion: some(3)})
    study.seen(lesion)[:] = True
    assert study.seen(lesion).sum() == 1


def test_other_outcomes_of_a_recorded_image_are_refused_and_nothing_is_written(study):
    first, last = study.lesions[0], study.lesions[-1]
    study.record({last: some(3, 7, 50)})
    before = rows(study)
    wrong = some(7, 8)
    for column in ("top1", "top5", "agreement"):
        with pytest.raises(StudyError) as caught:
            study.record({first: some(1), last: altered(wrong, **{column: ~wrong[column]})})
        assert str(caught.value) == (
            f"Expected the outcomes of lesion {last.key} that are recorded, but others came: the "
            "network, device or library answers differently; measure into a new study file."
        )
        assert rows(study) == before
        assert not study.seen(first).any() and study.seen(last).sum() == 3
    study.record({first: some(1), last: wrong})
    assert study.seen(last).sum() == 4


def test_losses_may_differ_by_float_noise_and_no_more_and_the_first_stays(study):
    lesion, outcomes = study.lesions[0], some(3, 7)
    study.record({lesion: outcomes})
    study.record({lesion: altered(outcomes, loss=outcomes["loss"] * np.float16(1.005))})
    assert_equal(study.outcomes(lesion), outcomes)
    with pytest.raises(StudyError, match="that are recorded, but others came"):
        study.record({lesion: altered(outcomes, loss=outcomes["loss"] + np.float16(0.1))})


def test_a_loss_that_is_not_a_number_comes_back_and_equals_itself_alone(study):
    lesion, outcomes = study.lesions[0], some(3, 7)
    none = altered(outcomes, loss=np.array([np.nan, 0.25], np.float16))
    study.record({lesion: none})
    study.record({lesion: none})
    assert np.isnan(study.outcomes(lesion)["loss"]).tolist() == [True, False]
    with pytest.raises(StudyError, match="that are recorded, but others came"):
        study.record({lesion: altered(outcomes, loss=np.array([0.25, 0.25], np.float16))})


def test_only_images_that_the_intact_network_has_seen_are_taken(fresh):
    lesion = fresh.lesions[0]
    with pytest.raises(StudyError) as caught:
        fresh.record({lesion: some(0)})
    assert str(caught.value) == (
        "Expected outcomes of the first 0 images, which the intact network has seen, got image 0 "
        f"of lesion {lesion.key}."
    )
    fresh.record({lesion: some(3, 19)}, BASE.take(slice(20)))  # its rows come in the same call
    with pytest.raises(StudyError, match=r"the first 20 images, .* got image 20 of lesion"):
        fresh.record({lesion: some(4, 20)})
    assert np.flatnonzero(fresh.seen(lesion)).tolist() == [3, 19]


def test_all_is_recorded_or_nothing(fresh):
    first, last = fresh.lesions[0], replace(fresh.lesions[0], amount=0.77)
    with pytest.raises(StudyError, match=r"got filters/branch/conv1/l1/0\.77.*add it to the study"):
        fresh.record({first: whole(), last: whole()}, BASE)
    assert fresh.images == len(fresh.intact()) == 0
    assert not fresh.seen(first).any() and not len(fresh.outcomes(first))


# --- the intact network


@pytest.mark.parametrize(
    "slices", [[(0, 60)], [(0, 1), (1, 60)], [(0, 20), (10, 40), (0, 5), (30, 60), (20, 60)]]
)
def test_the_intact_networks_images_come_in_turn_and_overlaps_count_once(fresh, slices):
    end = 0
    for start, stop in slices:
        fresh.record({}, BASE.take(slice(start, stop)))
        end = max(end, stop)
        assert fresh.images == len(fresh.intact()) == end
    assert sum(row[0] for row in rows(fresh, "intact").values()) == 60
    assert_equal(fresh.intact().outcomes, BASE.outcomes)
    assert np.array_equal(fresh.intact(25).margin, BASE.margin[:25])
    assert_equal(fresh.intact(25).outcomes, BASE.outcomes.take(slice(25)))


def test_a_gap_in_the_intact_networks_images_is_refused(fresh):
    fresh.record({}, BASE.take(slice(20)))
    with pytest.raises(StudyError) as caught:
        fresh.record({}, BASE.take(slice(21, 30)))
    assert str(caught.value) == (
        "Expected images that follow the first 20 of 60, got 9 from 21 on: record the intact "
        "network's images in turn."
    )
    with pytest.raises(StudyError, match="Expected images that follow the first 20 of 60, got 2"):
        fresh.record({}, BASE.take(np.array([20, 22])))
    assert fresh.images == 20


def test_more_images_than_the_order_has_are_refused(fresh):
    with pytest.raises(StudyError, match="follow the first 0 of 60, got 61 from 0 on"):
        fresh.record({}, planted.intact(IMAGES + 1))


def test_images_that_change_between_reads_are_refused_by_number(study):
    digest, label = BASE.digest.copy(), BASE.label.copy()
    digest[17] += np.uint64(1)
    label[23] += 1
    for wrong, image, how in (
        (replace(BASE, digest=digest), 17, "its content is another"),
        (replace(BASE, label=label), 23, "its label is another"),
    ):
        with pytest.raises(StudyError) as caught:
            study.record({study.lesions[0]: whole()}, wrong.take(slice(10, 40)))
        assert str(caught.value) == (
            f"Images change between reads: expected image {image} of the order to be as first "
            f"read, but {how}; switch off random augmentation, so that an index always gives the "
            "same image."
        )
    assert not study.seen(study.lesions[0]).any()
    study.record({}, replace(BASE, digest=digest).take(slice(18, 40)))  # 17 is not among them


def test_margins_may_differ_by_float_noise_and_no_more(study):
    study.record({}, replace(BASE, margin=BASE.margin + np.float32(1e-4)))
    assert np.array_equal(study.intact().margin, BASE.margin)
    with pytest.raises(StudyError, match="but its margins differ: the network, device or library"):
        study.record({}, replace(BASE, margin=BASE.margin + 1))


def test_margins_that_are_no_numbers_equal_themselves(fresh):
    none = replace(BASE, margin=np.full(IMAGES, np.nan, np.float32))
    fresh.record({}, none.take(slice(30)))
    fresh.record({}, none)
    assert np.isnan(fresh.intact().margin).all() and fresh.images == 60
    with pytest.raises(StudyError, match="its margins differ"):
        fresh.record({}, BASE)


# --- another process


def test_what_another_process_has_written_in_between_is_seen_and_not_written_again(study):
    lesion, free = study.lesions[:2]
    study.record({lesion: some(1, 2)})
    assert study.seen(lesion).sum() == 2 and not study.seen(free).any()
    with Study.open(study.path) as other:
        assert other.seen(lesion).sum() == 2
        other.record({lesion: some(2, 3, 4), free: some(9)})
        assert np.flatnonzero(study.seen(lesion)).tolist() == [1, 2, 3, 4]
        assert np.flatnonzero(study.seen(free)).tolist() == [9]
        study.record({lesion: some(3, 4, 5)})
        other.record({lesion: some(5, 6)})
    assert_equal(study.outcomes(lesion), some(1, 2, 3, 4, 5, 6))
    assert sum(row[1] for row in rows(study).values()) == 7


def test_what_another_process_has_written_in_between_is_not_contradicted(study):
    lesion, wrong = study.lesions[0], some(5)
    assert not study.seen(lesion).any()
    with Study.open(study.path) as other:
        other.record({lesion: altered(wrong, top1=~wrong["top1"])})
    with pytest.raises(StudyError, match="that are recorded, but others came"):
        study.record({lesion: some(4, 5)})
    assert np.flatnonzero(study.seen(lesion)).tolist() == [5]


def test_two_processes_may_both_record_the_intact_network(fresh):
    with Study.open(fresh.path) as other:
        fresh.record({}, BASE.take(slice(20)))
        other.record({}, BASE.take(slice(40)))
        fresh.record({}, BASE.take(slice(20, 60)))
    assert_equal(fresh.intact().outcomes, BASE.outcomes)
    assert fresh.images == 60


# --- two studies


def test_two_studies_outcomes_join_to_their_union_or_contradict_each_other():
    first, second = some(1, 5, 9), some(0, 5, 30)
    assert_equal(joined(first, second, "x"), some(0, 1, 5, 9, 30))
    assert_equal(joined(some(), second, "x"), second)
    with pytest.raises(StudyError, match="Expected the outcomes of lesion x that are recorded"):
        joined(first, altered(second, top1=~second["top1"]), "x")
