"""Looking on while another process writes: what is there is seen, and nobody waits."""

import sqlite3
import threading

import planted
import pytest

from lesion.errors import StudyError
from lesion.study.study import Study


@pytest.fixture
def study(tmp_path):
    with planted.study(tmp_path / "s.lesion", images=300, measured=150, ratios=(0.2, 0.6)) as made:
        yield made


def test_it_holds_what_the_file_holds(study):
    with Study.snapshot(study.path) as seen:
        assert seen.lesions == study.lesions and seen.images == study.images == 150
        assert seen.answers == 150 * len(study.lesions)
        assert seen.anatomy == study.anatomy and seen.path == study.path
        last = study.lesions[-1]
        assert seen.outcomes(last)["top1"].tolist() == study.outcomes(last)["top1"].tolist()
        assert seen.latest == last


def test_it_keeps_no_lock_and_stays_as_it_was(study):
    with Study.snapshot(study.path) as seen, Study.open(study.path, timeout=0.01) as writer:
        whole = planted.intact(300)
        parts = {
            each: planted.lesioned(whole, 3, 0).take(slice(150, 300)) for each in writer.lesions
        }
        planted.record(writer, whole, parts, 300)
        assert (seen.images, writer.images) == (150, 300)


def test_what_is_not_committed_is_not_seen(study):
    other = sqlite3.connect(study.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("DELETE FROM outcomes")
    with Study.snapshot(study.path) as seen:
        assert seen.answers == 150 * len(study.lesions)
    other.execute("ROLLBACK")
    other.close()


def test_a_writer_that_has_its_lock_for_long_is_told(study):
    other = sqlite3.connect(study.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StudyError, match="another process holds its lock: try again later"):
        Study.snapshot(study.path, timeout=0.01)
    other.execute("ROLLBACK")
    other.close()
    Study.snapshot(study.path).close()


def test_a_writer_comes_to_its_end_while_others_look(tmp_path):
    with planted.study(tmp_path / "s.lesion", images=20, measured=1, ratios=(0.5,)) as made:
        path, whole = made.path, planted.intact(20)

    failures, seen = [], []

    def write():
        try:
            with Study.open(path) as writer:
                for place in range(1, 20):
                    part = {
                        each: planted.lesioned(whole, 0, 0).take(slice(place, place + 1))
                        for each in writer.lesions
                    }
                    writer.record(part, whole.take(slice(place, place + 1)))
        except Exception as error:  # told below, in the thread of the test
            failures.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    while thread.is_alive():
        with Study.snapshot(path) as look:
            count = len(look.lesions)
            assert look.answers % count == 0  # of each transaction all or nothing
            seen.append(look.answers // count)
    thread.join()
    assert failures == [] and seen == sorted(seen)
    with Study.snapshot(path) as look:
        assert look.answers == 20 * len(look.lesions)


def test_what_is_no_study_is_refused_as_by_open(tmp_path):
    with pytest.raises(StudyError, match="there is no file"):
        Study.snapshot(tmp_path / "nothing")
    (tmp_path / "text").write_text("a text that is no study, of some length" * 40)
    with pytest.raises(StudyError, match="is something else"):
        Study.snapshot(tmp_path / "text")
