"""Files appear whole or not at all, and nothing else is touched."""

import errno
import multiprocessing
import os
from pathlib import Path

import planted
import pytest

from lesion.boundary.files import check_file, check_folder, write
from lesion.errors import LesionError
from lesion.study.merge import merge
from lesion.study.study import Study
from lesion.sweeps.identity import _opened


@pytest.fixture
def full(monkeypatch):
    """A disk that takes no more."""

    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, full):
    path = tmp_path / "rates.json"
    path.write_text("old")
    with pytest.raises(LesionError, match=r"can be written, got .*rates.json \(No space left"):
        write(path, "new")
    assert os.listdir(tmp_path) == ["rates.json"] and path.read_text() == "old"


def test_a_device_that_is_full_is_said():
    with pytest.raises(LesionError, match=r"got /dev/full \(No space left"):
        write("/dev/full", "new")


def test_the_mode_stays_and_links_are_followed(tmp_path):
    path, link = tmp_path / "own", tmp_path / "link"
    path.write_text("old")
    path.chmod(0o600)
    link.symlink_to(path.name)
    write(link, "new")
    assert link.is_symlink() and path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_new_file_has_the_mode_of_any_other(tmp_path):
    write(tmp_path / "a", b"new")
    (tmp_path / "b").write_text("new")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_link_to_nothing_is_written_where_it_leads(tmp_path):
    (tmp_path / "link").symlink_to("target")
    write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_text() == "new"


def test_a_study_is_never_replaced_by_another_kind_of_file(tmp_path):
    Study.create(tmp_path / "a.lesion", planted.header()).close()
    before = (tmp_path / "a.lesion").read_bytes()
    with pytest.raises(LesionError, match="is a study, which would be lost; name another"):
        write(tmp_path / "a.lesion", "rates")
    assert (tmp_path / "a.lesion").read_bytes() == before


def test_a_file_that_is_read_is_not_written(tmp_path):
    (tmp_path / "net.py").write_text("def make(): ...")
    (tmp_path / "link").symlink_to("net.py")
    for place in ("net.py", "link"):
        with pytest.raises(LesionError, match="is read by the same command; name another"):
            check_file(tmp_path / place, None, f"{tmp_path}/net.py:make")
    check_file(tmp_path / "new", f"{tmp_path}/net.py:make")


@pytest.mark.parametrize(
    "place, text",
    [
        ("no/file", "there is no folder"),
        (".", "is a folder; name a file in it"),
        ("f" * 300, "name too long"),
        ("file/rates", "Not a directory"),
        ("a\0b", "null"),
    ],
)
def test_places_for_no_file(tmp_path, place, text):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(LesionError, match=f"(?i){text}"):
        check_file(tmp_path / place)
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_to_be_made_leaves_no_trace_before_it_is(tmp_path):
    check_folder(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(LesionError, match="Not a directory"):
        check_folder(tmp_path / "file" / "b")
    assert os.listdir(tmp_path) == ["file"]


def test_a_merge_reads_what_is_named_like_its_temporary_file(tmp_path):
    paths = [tmp_path / name for name in ("x.lesion.part", "b.lesion")]
    for path in paths:
        Study.create(path, planted.header(images=300)).close()
    before = [path.read_bytes() for path in paths]
    merge(paths, tmp_path / "x.lesion")
    assert [path.read_bytes() for path in paths] == before
    assert sorted(os.listdir(tmp_path)) == ["b.lesion", "x.lesion", "x.lesion.part"]


def test_a_merge_replaces_nothing_that_appears_meanwhile(tmp_path, monkeypatch):
    Study.create(tmp_path / "a", planted.header(images=300)).close()
    (tmp_path / "out").write_text("mine")
    looked = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: path.name != "out" and looked(path))
    with pytest.raises(LesionError, match=r"Expected a new file for the merged study, .* exists"):
        merge([tmp_path / "a"], tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["a", "out"]


def _record_half(path, start, barrier):
    """What one of two processes does that make and fill the same study."""
    base = planted.intact(300)
    barrier.wait()
    study, _ = _opened(path, planted.header(images=300))
    with study:
        lesions, skipped = planted.lesions(study.anatomy, (0.5, 0.9))
        study.add(lesions, skipped)
        study.record({}, base)
        for place, lesion in enumerate(lesions[start::2]):
            study.record({lesion: planted.lesioned(base, 5, 1, seed=place)})


def test_two_processes_that_make_one_study_lose_nothing(tmp_path):
    context = multiprocessing.get_context("forkserver")
    for attempt in range(5):
        path, barrier = tmp_path / f"{attempt}.lesion", context.Barrier(2)
        both = [context.Process(target=_record_half, args=(path, n, barrier)) for n in (0, 1)]
        for process in both:
            process.start()
        for process in both:
            process.join()
        assert [process.exitcode for process in both] == [0, 0]
        with Study.open(path) as study:
            assert all(len(study.outcomes(lesion)) == 300 for lesion in study.lesions)
