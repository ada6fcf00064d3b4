"""Code of others that ends the process gets a sentence, never silence and success."""

import os

import pytest
import torch
from torch.utils.data import TensorDataset

import lesion
from cli import netz
from lesion.subject.images import Images

COLOURS = ("--data", "{home}/netz.py:Slow")
CASES = {
    "a factory": ("sweep", "--network", "{home}/netz.py:leaving", *COLOURS),
    "a constructor": ("sweep", "--network", "{home}/netz.py:LeavingAtOnce", *COLOURS),
    "a network": ("sweep", "--network", "{home}/netz.py:Leaving", *COLOURS),
    "a network amid it": ("sweep", "--full", "--network", "{home}/netz.py:LeavingLater", *COLOURS),
    "data": ("sweep", "--network", "{home}/netz.py:Netz", "--data", "{home}/netz.py:leaving"),
    "an image": ("sweep", "--network", "{home}/netz.py:Netz", "--full", "--holdout", "0",
                 "--data", "{home}/netz.py:LeavingData"),
    "a score": ("sweep", "--network", "{home}/netz.py:Netz", *COLOURS,
                "--score", "{home}/netz.py:leaving"),
    "a recovery": ("sweep", "--network", "{home}/netz.py:Netz", *COLOURS,
                   "--recover", "{home}/netz.py:leaving", "--train", "{home}/netz.py:Slow"),
    "an evaluation": ("evaluate", "--network", "{home}/netz.py:Netz", *COLOURS,
                      "--evaluate", "{home}/netz.py:leaving"),
    "a script": ("sweep", "--network", "{home}/script.py:Netz", *COLOURS),
    "an image of a worker": ("sweep", "--network", "{home}/netz.py:Netz", "--full", "--holdout",
                             "0", "--workers", "1", "--data", "{home}/netz.py:LeavingData"),
    "layers": ("layers", "--network", "{home}/netz.py:Leaving", *COLOURS),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_command_line_does_not_end_with_them(home, run, tmp_path, case):
    (home.folder / "script.py").write_text("import sys\nsys.exit(0)\n")
    command, *arguments = (text.format(home=home.folder) for text in CASES[case])
    out = () if command == "layers" else ("-o", tmp_path / "s.lesion", "--ratios", "0.5")
    ran = run(command, *arguments, *out)
    ran.refused("Expected code that returns or raises an error, got sys.exit(", ".py:", "take it")


def test_python_callers_do_not_end_with_them_either(tmp_path):
    data = TensorDataset(torch.rand(20, 3, 8, 8), torch.arange(20) % 3)
    with pytest.raises(lesion.SubjectError, match=r"sys\.exit\(0\) at .*netz\.py:\d+, in forward"):
        lesion.layers(netz.Leaving().eval(), torch.rand(2, 3, 8, 8))
    with pytest.raises(lesion.SubjectError, match=r"sys\.exit\(0\) at .*netz\.py:\d+, in leaving"):
        lesion.sweep(netz.trained().eval(), data, tmp_path / "s", score=netz.leaving)
    with pytest.raises(lesion.SubjectError, match=r"sys\.exit\(0\) at .*netz\.py:\d+, in leaving"):
        lesion.sweep(netz.trained().eval(), data, tmp_path / "s", progress=netz.leaving)


@pytest.mark.parametrize("raised", ["GeneratorExit", "Own"])
@pytest.mark.parametrize("command", ["layers", "sweep"])
def test_what_is_no_exception_gets_a_sentence_too(home, run, tmp_path, command, raised):
    (home.folder / f"{raised}.py").write_text(
        f"class Own(BaseException): pass\ndef make():\n    raise {raised}\n"
    )
    out = () if command == "layers" else ("-o", tmp_path / "s.lesion")
    ran = run(command, "--network", f"{home.folder}/{raised}.py:make", "--data",
              f"{home.folder}/netz.py:Slow", *out)  # fmt: skip
    ran.refused(
        f"got {raised} (no Exception) at ", f"{raised}.py:3, in make, which ends the process"
    )


def test_an_interrupt_is_told_by_every_command(home, run):
    (home.folder / "stopped.py").write_text("def make():\n    raise KeyboardInterrupt\n")
    ran = run("layers", "--network", f"{home.folder}/stopped.py:make", "--data",
              f"{home.folder}/netz.py:Slow")  # fmt: skip
    assert ran.code == 130
    assert "lesion: stopped; nothing was written" in ran.err


def test_a_reading_process_that_dies_is_told():
    with pytest.raises(lesion.SubjectError, match=r"processes that read images .* exited unexpect"):
        list(Images.of(Dying(), 1).batches([[0, 1]]))


class Dying(netz.Slow):
    def __getitem__(self, index):
        os._exit(3)
