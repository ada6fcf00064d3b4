"""`python -m lesion`, completion, and the order of help."""

import os
import re
import subprocess
import sys
from pathlib import Path

import lesion

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
