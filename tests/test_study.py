"""The study file: what is written comes back, what contradicts is refused, nothing is half done."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import planted
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesion.cells import from_intact, from_outcomes, to_intact, to_outcomes
from lesion.errors import StudyError
from lesion.header import Header, differences
from lesion.outcomes import COLUMNS, Outcomes
from lesion.plan import Skipped
from lesion.study import Study

BASE = planted.intact(300)


def equal(one: Outcomes, other: Outcomes) -> bool:
    bits = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in COLUMNS)
    return bits and one.loss == pytest.approx(other.loss)


@pytest.fixture
def empty(tmp_path):
    """A study of 300 images in chunks of 128 with lesions and no outcomes."""
    with Study.create(tmp_path / "a.lesion", planted.header(images=300)) as study:
        study.add(*planted.lesions(study.anatomy, (0.5, 0.9)))
        yield study


@pytest.fixture
def whole(empty):
    """What every lesion makes of all 300 images."""
    return {
        lesion: planted.lesioned(BASE, 10 + index, index % 3, seed=index)
        for index, lesion in enumerate(empty.lesions)
    }


def chunk(whole, number, images=128):
    """A chunk of planted outcomes as `record` takes it."""
    part = slice(number * 128, min(300, number * 128 + images))
    cells = {lesion: planted.cut(outcomes, part) for lesion, outcomes in whole.items()}
    return number, f"digest {number}", planted.cut_intact(BASE, part), cells


def test_a_header_survives_the_file_with_every_label_of_the_anatomy(tmp_path):
    head = planted.header(depth=56)
    with Study.create(tmp_path / "a.lesion", head):
        pass
    with Study.open(tmp_path / "a.lesion") as study:
        assert study.header == head
        assert study.anatomy.made_by("layer2.0.conv1") == head.anatomy.made_by("layer2.0.conv1")


def test_a_header_takes_numpy_numbers():
    head = planted.header(order=tuple(np.arange(3)), settings={"rate": np.float64(0.5)})
    assert Header.from_bytes(head.to_bytes()).order == (0, 1, 2)


def test_a_header_shares_its_order_out_into_chunks():
    head = planted.header(images=300)
    assert head.chunks == 3
    assert sum((head.indices(number) for number in range(3)), ()) == head.order
    assert [len(head.indices(number)) for number in range(3)] == [128, 128, 44]


def test_what_is_recorded_comes_back_in_order(empty, whole):
    for number in range(3):
        empty.record(*chunk(whole, number))
    with Study.open(empty.path) as study:
        for lesion, outcomes in whole.items():
            assert equal(study.outcomes(lesion), outcomes)
            assert study.chunks(lesion) == 3
            assert study.images(lesion) == 300
        found = study.intact()
        assert equal(found.outcomes, BASE.outcomes)
        for name in ("label", "prediction", "margin"):
            assert np.array_equal(getattr(found, name), getattr(BASE, name))
        assert [study.digest(number) for number in range(4)] == [
            "digest 0", "digest 1", "digest 2", None,
        ]  # fmt: skip


def test_the_first_images_of_the_intact_network_know_their_loss_at_the_end_of_a_chunk(empty, whole):
    for number in range(3):
        empty.record(*chunk(whole, number))
    assert empty.intact(256).outcomes.loss == pytest.approx(BASE.outcomes.loss * 256 / 300)
    assert len(empty.intact(256)) == 256
    assert len(empty.intact(200)) == 200
    assert np.isnan(empty.intact(200).outcomes.loss)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_packing_gives_back_every_bit(images, seed):
    rng = np.random.default_rng(seed)
    columns = rng.random((3, images)) < 0.5
    base = planted.intact(images, seed=seed)
    row = from_intact(base)
    assert equal(to_outcomes(from_outcomes(Outcomes(*columns, loss=1.5))), Outcomes(*columns, 1.5))
    assert equal(to_intact(row).outcomes, base.outcomes)
    assert np.array_equal(to_intact(row).label, base.label)
    assert len(row[1]) == -(-images // 8)


def test_writing_the_same_again_changes_nothing(empty, whole):
    empty.record(*chunk(whole, 0))
    before = list(sqlite3.connect(empty.path).iterdump())
    empty.record(*chunk(whole, 0))
    empty.add(*planted.lesions(empty.anatomy, (0.5, 0.9)))
    assert list(sqlite3.connect(empty.path).iterdump()) == before


def test_adding_is_a_union(empty):
    before = empty.lesions
    empty.add(planted.lesions(empty.anatomy, (0.1, 0.5))[0], [Skipped("fc", "tied", "other")])
    assert set(empty.lesions) == {*before, *planted.lesions(empty.anatomy, (0.1,))[0]}
    assert empty.lesions[: len(before)] == before
    assert Skipped("fc", "tied", "other") in empty.skipped
    assert len(empty.skipped) == 11


def test_a_lesion_that_removes_another_number_is_refused(empty):
    other = replace(empty.lesions[0], pruned=3)
    with pytest.raises(StudyError, match=r"remove 8 of 16 channels as in .*, got 3 of 16"):
        empty.add([other])


def test_other_outcomes_of_a_recorded_cell_are_refused_and_nothing_is_written(empty, whole):
    empty.record(*chunk(whole, 0))
    number, digest, intact, cells = chunk(whole, 0)
    first, last = empty.lesions[0], empty.lesions[-1]
    del cells[first]
    cells[last] = planted.lesioned(intact, 30, 0)
    with pytest.raises(
        StudyError, match=r"Expected the outcomes of chunk 0 of lesion filters/free"
    ):
        empty.record(number, digest, intact, cells)
    assert equal(empty.outcomes(last), chunk(whole, 0)[3][last])


def test_a_chunk_is_recorded_whole_or_not_at_all(empty, whole):
    number, digest, intact, cells = chunk(whole, 0)
    cells[replace(empty.lesions[0], amount=0.77)] = cells[empty.lesions[0]]
    with pytest.raises(StudyError, match=r"got filters/branch/conv1/l1/0\.77.*add it to the study"):
        empty.record(number, digest, intact, cells)
    assert empty.images() == 0
    assert empty.outcomes(empty.lesions[0]).top1.size == 0


def test_images_that_change_between_reads_are_refused(empty, whole):
    empty.record(*chunk(whole, 0))
    number, _, intact, cells = chunk(whole, 0)
    with pytest.raises(StudyError, match=r"Images change between reads: .* switch off random augm"):
        empty.record(number, "another", intact, cells)
    labels = replace(intact, label=intact.label[::-1].copy())
    with pytest.raises(
        StudyError, match=r"Images change between reads: .* their labels are others"
    ):
        empty.record(number, "digest 0", labels, cells)


def test_margins_may_differ_by_float_noise_and_no_more(empty, whole):
    number, digest, intact, cells = chunk(whole, 0)
    empty.record(number, digest, intact, cells)
    empty.record(number, digest, replace(intact, margin=intact.margin + 1e-4), {})
    assert np.array_equal(empty.intact().margin, intact.margin)
    with pytest.raises(StudyError, match="its margins differ"):
        empty.record(number, digest, replace(intact, margin=intact.margin + 1), {})


def test_outcomes_are_a_prefix(empty, whole):
    with pytest.raises(StudyError, match="chunk 0 to be recorded whole before chunk 1"):
        empty.record(*chunk(whole, 1))
    number, digest, intact, cells = chunk(whole, 0)
    late = empty.lesions[0]
    del cells[late]
    empty.record(number, digest, intact, cells)
    with pytest.raises(StudyError, match="Expected chunk 0 to be recorded whole before chunk 1"):
        empty.record(*chunk(whole, 1))
    assert empty.images() == 128
    empty.record(number, digest, intact, {late: chunk(whole, 0)[3][late]})
    empty.record(*chunk(whole, 1))
    assert empty.images(late) == 256


def test_a_chunk_cut_short_is_replaced_by_its_whole_and_not_the_other_way_round(empty, whole):
    empty.record(*chunk(whole, 0, images=50))
    lesion = empty.lesions[0]
    assert (empty.chunks(lesion), empty.images(lesion)) == (0, 50)
    with pytest.raises(StudyError, match="recorded whole"):
        empty.record(*chunk(whole, 1))
    empty.record(*chunk(whole, 0))
    empty.record(*chunk(whole, 0, images=50))
    assert (empty.chunks(lesion), empty.images(lesion)) == (1, 128)
    assert equal(empty.outcomes(lesion), planted.cut(whole[lesion], slice(0, 128)))


def test_a_chunk_cut_short_must_begin_as_its_whole(empty, whole):
    empty.record(*chunk(whole, 0, images=50))
    number, digest, intact, cells = chunk(whole, 0)
    lesion = empty.lesions[0]
    cells[lesion] = replace(cells[lesion], top1=~cells[lesion].top1)
    with pytest.raises(StudyError, match="Expected the outcomes of chunk 0"):
        empty.record(number, digest, intact, cells)


@pytest.mark.parametrize("images", [0, 129])
def test_a_chunk_of_no_or_too_many_images_is_refused(empty, images):
    intact = planted.intact(images)
    with pytest.raises(StudyError, match=f"Expected 1 to 128 images for chunk 0, got {images}"):
        empty.record(0, "digest", intact, {})


def test_a_loss_that_is_not_a_number_comes_back(empty, whole):
    number, digest, intact, cells = chunk(whole, 0)
    lesion = empty.lesions[0]
    cells[lesion] = replace(cells[lesion], loss=float("nan"))
    empty.record(number, digest, intact, cells)
    empty.record(number, digest, intact, cells)
    assert np.isnan(empty.outcomes(lesion).loss)


def test_a_failed_lesion_keeps_its_first_reason(empty):
    lesion = empty.lesions[3]
    empty.fail(lesion, "its outputs are not finite")
    empty.fail(lesion, "another")
    assert empty.failed == {lesion: "its outputs are not finite"}


def test_scores_come_back_bit_for_bit_and_others_are_refused(empty):
    scores = np.array([3.0, 1 / 3, 2e-300])
    empty.set_scores("conv1", "branch", "l1", 0, scores)
    empty.set_scores("conv1", "branch", "l1", 0, scores * (1 + 1e-9))
    assert np.array_equal(empty.scores("conv1", "branch", "l1"), scores)
    assert empty.scores("conv1", "branch", "l1", seed=1) is None
    for other in (scores * 1.01, scores[:2]):
        with pytest.raises(StudyError, match="Expected the l1 scores of conv1 that"):
            empty.set_scores("conv1", "branch", "l1", 0, other)


def test_norms_come_in_order_of_execution(empty):
    for name in ("layer3.0.conv1", "conv1"):
        empty.set_norms(name, np.arange(4))
    assert list(empty.norms) == ["conv1", "layer3.0.conv1"]


def test_another_subject_is_refused_by_name_with_both_values_and_another_machine_warns(empty):
    same = dict(empty.header.subject)
    assert empty.check(same, dict(empty.header.environment)) == []
    warnings = empty.check(same, {"torch": "2.9", "device": "cuda"})
    assert warnings == ["measured in another environment: device (cpu there, cuda here)"]
    with pytest.raises(StudyError) as caught:
        empty.check({**same, "weights": "v" * 64, "preprocessing": "crop 24"})
    text = str(caught.value)
    assert "preprocessing (none there, crop 24 here)" in text
    assert f"weights ({'w' * 39}… there, {'v' * 39}… here)" in text
    assert "order (" not in text
    assert differences({}, {"order": "1"}) == ["order (nothing there, 1 here)"]


def test_a_new_study_overwrites_nothing(tmp_path):
    path = tmp_path / "a.lesion"
    path.write_text("mine")
    with pytest.raises(StudyError, match=r"Expected a new file for the study, but .* exists"):
        Study.create(path, planted.header())
    assert path.read_text() == "mine"


def test_a_new_study_leaves_one_file_and_takes_no_notice_of_a_broken_start(tmp_path):
    (tmp_path / "a.lesion.new").write_text("left by a killed process")
    Study.create(tmp_path / "a.lesion", planted.header()).close()
    assert os.listdir(tmp_path) == ["a.lesion"]


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(StudyError, match=r"Expected to open and write .* is not permitted"):
        Study.create(tmp_path / "nowhere" / "a.lesion", planted.header())


def test_a_copy_is_a_study(empty, whole, tmp_path):
    empty.record(*chunk(whole, 0))
    copy = shutil.copy(empty.path, tmp_path / "copy.lesion")
    with Study.open(copy) as study:
        study.record(*chunk(whole, 1))
        assert study.images() == 256
    assert empty.images() == 128


def foreign_image(path: Path) -> None:
    path.write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(5000))


def foreign_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE header (content)")
    connection.close()


@pytest.mark.parametrize("make", [foreign_image, foreign_database, Path.touch])
def test_a_foreign_file_is_no_study(tmp_path, make):
    path = tmp_path / "a.lesion"
    make(path)
    content = path.read_bytes()
    with pytest.raises(StudyError, match=r"Expected a study file, but .* is something else: give"):
        Study.open(path)
    assert path.read_bytes() == content


def test_a_missing_file_is_said_and_not_made(tmp_path):
    with pytest.raises(StudyError, match=r"there is no file .*b.lesion: check the name"):
        Study.open(tmp_path / "b.lesion")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("keep", [0.3, 0.7])
def test_a_file_cut_short_is_damaged(empty, keep):
    empty.close()
    content = empty.path.read_bytes()
    empty.path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(StudyError, match=r"is damaged .*restore a copy"):
        Study.open(empty.path)


@pytest.mark.parametrize("content", [b"junk", zlib.compress(b"{}"), zlib.compress(b"[]")])
def test_a_header_that_cannot_be_read_is_damage(empty, content):
    with sqlite3.connect(empty.path) as connection:
        connection.execute("UPDATE header SET content = ?", (content,))
    with pytest.raises(StudyError, match="its header cannot be read"):
        Study.open(empty.path)


def test_a_newer_format_asks_for_a_newer_lesion(empty):
    with sqlite3.connect(empty.path) as connection:
        connection.execute("PRAGMA user_version = 7")
    with pytest.raises(StudyError, match="is of format 7: install a newer lesion"):
        Study.open(empty.path)


def test_a_full_disk_keeps_what_was_recorded(empty, whole):
    empty.record(*chunk(whole, 0))
    (pages,) = empty._connection.execute("PRAGMA page_count").fetchone()
    empty._connection.execute(f"PRAGMA max_page_count = {pages}")
    big = np.random.default_rng(0).random(20_000)
    with pytest.raises(StudyError, match="the disk is full: every chunk recorded before is kept"):
        empty.set_scores("conv1", "branch", "l1", 0, big)
    assert empty.images() == 128
    empty._connection.execute("PRAGMA max_page_count = 1000000")
    empty.record(*chunk(whole, 1))
    assert empty.images() == 256


def test_a_locked_file_is_said(empty, whole):
    with Study.open(empty.path, timeout=0.01) as other:
        empty._connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(StudyError, match="another process holds its lock: wait"):
            other.record(*chunk(whole, 0))
        empty._connection.execute("ROLLBACK")
        other.record(*chunk(whole, 0))
    assert empty.images() == 128


def test_an_interrupt_loses_the_unfinished_chunk_only(empty, whole):
    empty.record(*chunk(whole, 0))
    number, digest, intact, cells = chunk(whole, 1)

    class Interrupting(dict):
        def items(self):
            yield from list(super().items())[:5]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        empty.record(number, digest, intact, Interrupting(cells))
    assert empty.images() == 128
    assert {empty.images(lesion) for lesion in empty.lesions} == {128}
    empty.record(number, digest, intact, cells)
    assert empty.images() == 256


KILLED = """
import os, signal, planted
from test_study import BASE, chunk
from lesion.study import Study
with Study.open({path!r}) as study:
    whole = {{lesion: planted.lesioned(BASE, 5, 1) for lesion in study.lesions}}
    study.record(*chunk(whole, 0))
    study._connection.execute("PRAGMA cache_size = 1")
    study._connection.execute("BEGIN IMMEDIATE")
    study._connection.execute("DELETE FROM outcomes")
    study._connection.execute("UPDATE lesions SET failed = 'x' || hex(zeroblob(4000))")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_a_killed_process_leaves_the_last_whole_chunk(empty):
    here = Path(__file__).parent
    code = subprocess.run(
        [sys.executable, "-c", KILLED.format(path=str(empty.path))],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])},
    ).returncode
    assert code == -signal.SIGKILL
    assert empty.path.with_name("a.lesion-journal").exists()
    with Study.open(empty.path) as study:
        assert {study.images(lesion) for lesion in study.lesions} == {128}
        assert not study.failed
