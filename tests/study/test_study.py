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

from lesion.errors import StudyError
from lesion.lesions.lesion import Skipped
from lesion.study import database
from lesion.study.aim import Aim
from lesion.study.header import Header, differences
from lesion.study.study import Study

BASE = planted.intact(300)


@pytest.fixture
def empty(tmp_path):
    """A study of 300 images with lesions and no outcomes."""
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


def part(whole, start, stop):
    """What `record` takes of these images: the lesions' outcomes, the intact network's rows."""
    chosen = slice(start, stop)
    return {lesion: outcomes.take(chosen) for lesion, outcomes in whole.items()}, BASE.take(chosen)


def test_a_header_survives_the_file_with_every_label_of_the_anatomy(tmp_path):
    head = planted.header(depth=56)
    with Study.create(tmp_path / "a.lesion", head):
        pass
    with Study.open(tmp_path / "a.lesion") as study:
        assert study.header == head
        assert study.anatomy.made_by("layer2.0.conv1") == head.anatomy.made_by("layer2.0.conv1")


def test_a_header_takes_numpy_numbers():
    head = planted.header(order=tuple(np.arange(3)), holdout=(), settings={"rate": np.float64(0.5)})
    assert Header.from_bytes(head.to_bytes()).order == (0, 1, 2)


def test_adding_the_same_again_changes_nothing(empty):
    before = list(sqlite3.connect(empty.path).iterdump())
    empty.add(*planted.lesions(empty.anatomy, (0.5, 0.9)))
    assert list(sqlite3.connect(empty.path).iterdump()) == before


def test_a_study_is_opened_while_another_process_adds_to_it(empty, monkeypatch):
    """Between any two of its reads there may be more: a damage, and lesions of it."""
    lesions, skipped = planted.lesions(empty.anatomy, (0.1, 0.3))
    reads, more = database.Store.rows, list(lesions)

    def reading(store, query, *values):
        if store is not empty._store and more:
            empty.add([more.pop()], skipped)
        return reads(store, query, *values)

    monkeypatch.setattr(database.Store, "rows", reading)
    Study.open(empty.path).close()
    assert len(more) < len(lesions)


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


def test_what_is_asked_is_remembered_once_and_the_last_comes_last(empty):
    first, second, third = Aim(), Aim(2.5, 99, "agreement", "layer"), Aim(half_width=0.5)
    for aim in (first, second, third, first):
        empty.aim(aim)
    before = empty.path.read_bytes()
    empty.aim(first)
    assert empty.path.read_bytes() == before
    with Study.open(empty.path) as study:
        assert study.aims == (second, third, first)


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


def test_a_new_study_leaves_one_file_and_touches_no_other(tmp_path):
    (tmp_path / "a.lesion.new").write_text("mine")
    Study.create(tmp_path / "a.lesion", planted.header()).close()
    assert sorted(os.listdir(tmp_path)) == ["a.lesion", "a.lesion.new"]
    assert (tmp_path / "a.lesion.new").read_text() == "mine"


def test_a_study_that_appears_while_another_is_made_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "a.lesion"
    monkeypatch.setattr(Path, "exists", lambda self: False)  # as it was when both looked
    Study.create(path, planted.header(images=300)).close()
    before = path.read_bytes()
    with pytest.raises(StudyError, match=r"Expected a new file for the study, but .* exists"):
        Study.create(path, planted.header(images=300))
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.lesion"]


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(StudyError, match=r"Expected to write .*, but No such file or directory"):
        Study.create(tmp_path / "nowhere" / "a.lesion", planted.header())


def test_a_copy_is_a_study(empty, whole, tmp_path):
    empty.record(*part(whole, 0, 128))
    copy = shutil.copy(empty.path, tmp_path / "copy.lesion")
    with Study.open(copy) as study:
        study.record(*part(whole, 128, 256))
        assert study.images == 256
    assert empty.images == 128


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
def test_a_header_that_cannot_be_read_is_damage(tmp_path, content):
    database.create(tmp_path / "a.lesion", content)
    with pytest.raises(StudyError, match="its header cannot be read"):
        Study.open(tmp_path / "a.lesion")


@pytest.mark.parametrize(
    ("version", "text"),
    [(database.VERSION + 1, "install a newer lesion to read it"), (1, "measure again")],
)
def test_another_format_is_said_with_what_to_do(empty, version, text):
    with sqlite3.connect(empty.path) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(
        StudyError, match=rf"of format {database.VERSION}, but .* is of format {version}: {text}"
    ):
        Study.open(empty.path)


def test_a_full_disk_keeps_what_was_recorded(empty, whole):
    empty.record(*part(whole, 0, 128))
    connection = empty._store._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    big = np.random.default_rng(0).random(20_000)
    with pytest.raises(StudyError, match=r"the disk is full: what was recorded before is kept"):
        empty.set_scores("conv1", "branch", "l1", 0, big)
    assert empty.images == 128
    connection.execute("PRAGMA max_page_count = 1000000")
    empty.record(*part(whole, 128, 256))
    assert empty.images == 256


def test_a_full_disk_in_the_middle_of_outcomes_leaves_none_of_them(empty, whole):
    empty.record(*part(whole, 0, 128))
    connection, lesion = empty._store._connection, empty.lesions[-1]
    assert empty.seen(lesion).sum() == 128
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(StudyError, match="the disk is full"):
        empty.record(*part(whole, 128, 300))
    connection.execute("PRAGMA max_page_count = 1000000")
    assert empty.images == 128
    assert {int(empty.seen(each).sum()) for each in empty.lesions} == {128}
    empty.record(*part(whole, 128, 300))
    assert {int(empty.seen(each).sum()) for each in empty.lesions} == {300}


def test_a_locked_file_is_said(empty, whole):
    with Study.open(empty.path, timeout=0.01) as other:
        empty._store._connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(StudyError, match="another process holds its lock: wait"):
            other.record(*part(whole, 0, 128))
        empty._store._connection.execute("ROLLBACK")
        other.record(*part(whole, 0, 128))
    assert empty.images == 128


def test_an_interrupt_loses_what_was_being_recorded_only(empty, whole):
    empty.record(*part(whole, 0, 128))
    outcomes, intact = part(whole, 128, 256)

    class Interrupting(dict):
        def items(self):
            yield from list(super().items())[:5]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        empty.record(Interrupting(outcomes), intact)
    assert empty.images == 128
    assert {int(empty.seen(lesion).sum()) for lesion in empty.lesions} == {128}
    assert {len(empty.outcomes(lesion)) for lesion in empty.lesions} == {128}
    empty.record(outcomes, intact)
    assert empty.images == 256
    assert {len(empty.outcomes(lesion)) for lesion in empty.lesions} == {256}


KILLED = """
import os, signal, planted
from test_study import BASE, part
from lesion.study.study import Study
with Study.open({path!r}) as study:
    whole = {{lesion: planted.lesioned(BASE, 5, 1) for lesion in study.lesions}}
    study.record(*part(whole, 0, 128))
    connection = study._store._connection
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("DELETE FROM outcomes")
    connection.execute("UPDATE lesions SET failed = 'x' || hex(zeroblob(4000))")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_a_killed_process_leaves_what_was_recorded(empty):
    folder = Path(__file__)
    code = subprocess.run(
        [sys.executable, "-c", KILLED.format(path=str(empty.path))],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folder.parents[:3]))},
    ).returncode
    assert code == -signal.SIGKILL
    assert empty.path.with_name("a.lesion-journal").exists()
    with Study.open(empty.path) as study:
        assert {len(study.outcomes(lesion)) for lesion in study.lesions} == {128}
        assert not study.failed
