"""The command line as a process: signals, pipes, limits, and what it imports."""

import json
import os
import resource
import signal
import subprocess
import sys
import time

import pytest

import lesion

IMAGES = 320  # of Slow, without those kept back
LESION = (sys.executable, "-m", "lesion.cli")


def call(environment, *arguments, **more):
    return subprocess.run(
        [*LESION, *map(str, arguments)], env=environment, capture_output=True, text=True, **more
    )


def measured(path) -> int:
    """How many images a study holds; none while there is no whole file."""
    try:
        with lesion.Study.open(path) as study:
            return study.images
    except lesion.StudyError:
        return 0


def heed() -> None:
    """Interrupts count, also where the tests run in the background, which ignores them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("workers", [0, 2])
def test_interrupted_says_how_to_go_on_and_goes_on(home, run, tmp_path, environment, workers):
    out, whole = tmp_path / "s.lesion", tmp_path / "whole.lesion"
    command = ("sweep", *home.with_(data=home.factory("Slow")), "--ratios", "0.5,0.75", "--full")
    process = subprocess.Popen(
        [*LESION, *map(str, command), "-o", str(out), "--workers", str(workers)],
        env={**environment, "PAUSE": "0.03"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True, preexec_fn=heed,
    )  # fmt: skip
    while process.poll() is None and not measured(out):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to the workers as well
    _, err = process.communicate()
    assert process.returncode == 130
    told = f"lesion: stopped; what is measured is in {out}: run the same command to go on."
    assert told in err.splitlines() and "Traceback" not in err
    assert 0 < measured(out) < IMAGES
    for path in (out, whole):
        assert run(*command, "-o", path).code == 0
    resumed, once = (run("curves", path, "--format", "csv").out for path in (out, whole))
    assert resumed == once


def test_a_file_that_may_not_grow_keeps_what_was_measured(home, run, tmp_path):
    """The system refuses the write, as with a quota: the study stays whole and goes on."""
    out = tmp_path / "s.lesion"
    subject = home.with_(data=home.factory("Slow"))
    command = ("sweep", *subject, "-o", out, "--ratios", "0.5", "--full")
    assert run(*command, "--images", 128).code == 0
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (out.stat().st_size, hard))
    try:
        ran = run(*command)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    ran.refused(f"Expected to read and write {out}", "recorded before is kept")
    assert measured(out) >= 128
    assert run(*command).code == 0 and measured(out) == IMAGES


READING = """
import importlib.abc
import sys


class NoTorch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision"):
            raise ModuleNotFoundError(name)


sys.meta_path.insert(0, NoTorch())
from lesion.cli.run import main

for arguments in {commands}:
    sys.argv = ["lesion", *arguments]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (arguments, end.code)
    print("loaded:", *sorted({{"matplotlib", "seaborn", "scipy"}} & set(sys.modules)))
"""


def test_what_reads_a_study_needs_no_torch(swept, tmp_path, environment):
    commands = [
        ["--help"], ["sweep", "--help"], ["curves", str(swept)],
        ["curves", str(swept), "--format", "csv"], ["recommend", str(swept), "--max-drop", "8"],
        ["merge", str(swept), "-o", str(tmp_path / "merged.lesion")],
        ["plot", str(swept), "-o", str(tmp_path / "figures"), "--max-drop", "8"],
    ]  # fmt: skip
    code = READING.format(commands=commands)
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    loaded = [line for line in ran.stdout.splitlines() if line.startswith("loaded:")]
    assert loaded[:-1] == ["loaded:"] * (len(commands) - 1)  # nor what draws, until it is to draw
    assert len(list((tmp_path / "figures").iterdir())) == 5


def test_every_public_name_is_there_and_no_other():
    names = {}
    exec("from lesion import *", names)
    assert set(lesion.__all__) <= set(names)
    assert [name for name in dir(lesion) if not name.startswith("_")] == sorted(lesion.__all__)
    assert callable(lesion.curves) and callable(lesion.cost) and callable(lesion.sweep)
    with pytest.raises(AttributeError, match="module 'lesion' has no attribute 'prune'"):
        _ = lesion.prune


def test_what_libraries_print_is_no_result(home, environment):
    """Noise of C code, which Python's streams do not see, beside JSON for programs."""
    ran = call(environment, "layers", *home.with_("Loud", None), "--format", "json")
    assert ran.returncode == 0
    assert "eingang" in {row["layer"] for row in json.loads(ran.stdout)}
    assert "noise of a library" in ran.stderr


def test_what_a_users_code_prints_is_no_result(home, environment):
    """Printed by Python when the module is made and run, beside JSON and CSV for programs."""
    subject = home.with_("Talking", None)
    ran = call(environment, "layers", *subject, "--format", "json")
    assert ran.returncode == 0
    assert "eingang" in {row["layer"] for row in json.loads(ran.stdout)}
    assert "made by print" in ran.stderr and "run by print" in ran.stderr
    ran = call(environment, "layers", *subject, "--format", "csv")
    assert ran.stdout.startswith("layer,") and "print" not in ran.stdout


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-", "| head -c 1", "2>&1 | true"])
def test_streams_that_are_closed_are_no_traceback(home, swept, tmp_path, environment, closed):
    """What is measured is kept, and goes into the study's file alone."""
    out = tmp_path / "s.lesion"
    lesion_ = " ".join(LESION)
    commands = (
        f"{lesion_} curves {swept} {closed}",
        f"{lesion_} sweep {' '.join(home.subject)} --full --ratios 0.5 -o {out} {closed}",
    )
    for command in commands:
        ran = subprocess.run(
            ["bash", "-c", command], env=environment, capture_output=True, text=True
        )
        assert "Traceback" not in ran.stderr and "rror" not in ran.stderr
        assert ran.returncode == 0 or "|" in closed
    if "|" not in closed:
        assert measured(out) == 48


def test_an_error_without_anyone_to_tell_is_no_traceback(environment, tmp_path):
    command = f"{' '.join(LESION)} curves {tmp_path}/none 2>&-"
    ran = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", "")


def test_a_pipe_that_closes_early_is_no_error(swept, environment):
    command = f"{' '.join(LESION)} curves {swept} --format json | head -n 1"
    ran = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)
    assert ran.stdout == "[\n" and ran.stderr == ""


def test_a_terminal_without_our_letters_shows_others(swept, environment):
    ran = call({**environment, "PYTHONIOENCODING": "ascii"}, "recommend", swept, "--max-drop", 8)
    assert ran.returncode == 0 and "The intact network" in ran.stdout


def test_results_that_cannot_be_written_are_no_success(swept, environment):
    with open("/dev/full", "w") as full:
        ran = subprocess.run(
            [*LESION, "curves", str(swept), "--format", "csv"], env=environment, stdout=full,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert ran.returncode == 1
    assert ran.stderr == (
        "lesion: Expected to write the results to standard output, but No space left on device: "
        "make room, or send them elsewhere.\n"
    )
