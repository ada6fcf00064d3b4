"""`python -m lesion`, completion, and the order of help."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lesion
from lesion.cli.run import PANELS

ROOT = Path(lesion.__file__).parent.parent


def module(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "lesion", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def test_the_module_is_the_command():
    assert module("--version").stdout == f"lesion {lesion.__version__}\n"
    ran = module("curves", "nowhere.lesion")
    assert ran.returncode == 1 and ran.stderr.startswith("lesion: Expected a study file")


def test_a_shell_completes_commands_and_options():
    complete = {"_LESION_COMPLETE": "complete_bash", "COMP_CWORD": "1"}
    assert module(COMP_WORDS="lesion wat", **complete).stdout.split() == ["watch"]
    complete["COMP_CWORD"] = "2"
    assert "--max-drop" in module(COMP_WORDS="lesion sweep --max", **complete).stdout.split()


def test_what_installs_it_is_shown(run):
    ran = run("--help")
    assert "--install-completion" in ran.out and "--show-completion" in ran.out


def test_help_begins_with_the_five_options_that_matter(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    shown = run("sweep", "--help").out
    options = re.findall(r"^[│|] [* ]?\s*(--[\w-]+)", shown, re.MULTILINE)
    assert options[:5] == ["--network", "--data", "--weights", "--out", "--max-drop"]
    assert options[5] == "--help"


def test_the_commands_stand_in_panels_and_the_way_to_a_skip_list_is_the_first(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    shown = run("--help").out
    names = re.findall(r"^[│|] (\w+)  ", shown.partition("skip list")[2], re.MULTILINE)
    assert names[:5] == ["demo", "layers", "sweep", "watch", "recommend"]
    assert sorted(names) == sorted(name for panel in PANELS.values() for name in panel)


@pytest.mark.parametrize(
    ("command", "first"),
    [("refine", "--macs"), ("verify", "--rates"), ("apply", "--out"), ("export", "--to")],
)
def test_what_a_command_is_for_stands_before_what_its_study_says(run, monkeypatch, command, first):
    monkeypatch.setenv("COLUMNS", "120")
    shown = run(command, "--help").out
    options = re.findall(r"^[│|] [* ]?\s*(--[\w-]+)", shown, re.MULTILINE)
    assert options.index(first) < options.index("--network")


def test_points_and_per_cent_may_have_their_sign(run, swept, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    plain = run("recommend", swept, "--max-drop", "2", "--confidence", "90")
    signed = run("recommend", swept, "--max-drop", "2%", "--confidence", "90 %")
    assert plain.code == 0 and signed.out == plain.out
    other = run("recommend", swept, "--max-drop", "little")
    assert other.code == 2 and "is no number; give one such as 1 or 0.5" in other.err
