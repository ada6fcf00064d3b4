"""`lesion watch`: once as text, and again and again at a terminal until the sweep ends."""

import io
import json
import shutil
import sqlite3
from collections import deque
from contextlib import closing

import pytest
from rich.console import Console

from lesion.cli import watch as watching
from lesion.cli.watch import pace
from lesion.reports import screen as screens
from lesion.reports.screen import Row, View
from lesion.study.study import Study


def test_once_is_a_screen_of_text(run, study):
    ran = run("watch", study, "--once")
    assert ran.code == 0 and ran.err == ""
    shown = ran.out.splitlines()
    assert shown[0].startswith(f"{study}: ")
    assert "layers certain" in ran.out and "answers of at most" in ran.out
    (row,) = (line.split() for line in shown if line.startswith("eingang"))
    assert set(row[-2]) <= set("+x.") and len(row[-2]) == 2


def test_a_pipe_gets_one_screen(run, study):
    assert run("watch", study).out == run("watch", study, "--once").out


def test_what_is_no_study_is_refused(run, tmp_path):
    run("watch", tmp_path / "x").refused("there is no file")


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 20 lines, what is written to it, and no pauses."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, height=20)
    monkeypatch.setattr(watching, "screen", lambda: console)
    monkeypatch.setattr(watching, "sleep", lambda seconds: None)
    return file


def looks(monkeypatch, *answers, left=0):
    """Views with so many answers, one a look; then a KeyboardInterrupt."""
    rows = (Row("a", "50 %", "+", 10, not left),)
    views = [View(("the title",), count, 100, left, rows) for count in answers]
    calls = iter(views)

    def look(path):
        try:
            return next(calls)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(watching, "look", look)
    return calls


def test_it_looks_until_the_sweep_ends(run, study, terminal, monkeypatch):
    calls = looks(monkeypatch, 10, 20, 20, 20)
    assert run("watch", study).code == 0
    assert len(list(calls)) == 1  # the third look showed that nothing came
    assert "20 answers of at most 100" in terminal.getvalue()


def test_an_interrupt_leaves_the_last_screen(run, study, terminal, monkeypatch):
    looks(monkeypatch, 10, 20, left=5)
    ran = run("watch", study)
    assert (ran.code, ran.err) == (0, "")
    assert "the title" in terminal.getvalue().rsplit("10 answers", 1)[-1]


def test_it_waits_nine_times_as_long_as_a_look_took(run, study, terminal, monkeypatch):
    looks(monkeypatch, 10, left=5)
    waits, times = [], iter([0.0, 3.0, 30.0])
    monkeypatch.setattr(watching, "sleep", waits.append)
    monkeypatch.setattr(watching, "monotonic", lambda: next(times))
    run("watch", study)
    assert waits == [27.0]


def test_the_rate_is_of_the_last_looks():
    assert pace(deque([(1.0, 10)])) is None
    assert pace(deque([(1.0, 10), (2.0, 15), (3.0, 40)])) == 15.0


def test_a_damaged_file_is_told_and_not_shown(run, swept):
    with closing(sqlite3.connect(swept)) as file, file:
        file.execute("UPDATE outcomes SET images = images - 1")
    run("watch", swept, "--once").refused("is damaged")


def test_looking_writes_nothing(run, study, tmp_path):
    copy = shutil.copy(study, tmp_path / "copy.lesion")
    before = copy.read_bytes()
    copy.chmod(0o400)
    assert run("watch", copy, "--once").code == 0
    assert copy.read_bytes() == before and list(tmp_path.iterdir()) == [copy]


def test_a_sweep_writes_its_log(run, home, tmp_path):
    log = tmp_path / "log.jsonl"
    options = ("--ratios", "0.5", "--full", "--log", f"jsonl:{log}")
    ran = run("sweep", *home.subject, "-o", tmp_path / "s.lesion", *options)
    assert ran.code == 0, ran.err
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert rows[0]["event"] == "begin" and rows[-1] | {"whole": True} == rows[-1]
    with Study.open(tmp_path / "s.lesion") as made:
        assert rows[0]["lesions"] == len(made.lesions)


def test_another_log_is_refused_before_any_work(run, home, tmp_path):
    ran = run("sweep", *home.subject, "-o", tmp_path / "s.lesion", "--log", "paper:x")
    ran.refused("Expected a kind of log (jsonl, mlflow, tensorboard, wandb), got 'paper'")
    assert not (tmp_path / "s.lesion").exists()


def test_the_screen_is_the_view_of_the_study(study):
    with Study.open(study) as opened:
        assert watching.look(study) == screens.view(opened)
