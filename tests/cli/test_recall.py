"""What a study knows of its subject need not be said again, and is never another's."""

import shutil

import pytest
import torch

import lesion
from cli import netz
from lesion.rates import runtimes
from lesion.study.study import Study

RATES = ("--macs", "95%", "--skip", "zweig.*")
HANDED = {
    "verify": ("--no-baselines",),
    "refine": ("--images", "20", "--rounds", "1"),
    "apply": ("-o", "small.safetensors"),
    "export": ("--to", "torch-prune", "-o", "rates.safetensors"),
}


@pytest.fixture
def here(home, swept, tmp_path, monkeypatch):
    """The study, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return swept


@pytest.mark.parametrize("command", HANDED)
def test_later_commands_need_the_study_alone(home, here, run, command):
    said = run(command, here, *RATES, *HANDED[command], *home.subject)
    unsaid = run(command, here, *RATES, *HANDED[command])
    assert (said.code, unsaid.code) == (0, 0), said.err
    assert command == "verify" or said.out == unsaid.out


def test_a_sweep_goes_on_with_what_the_study_knows(home, run, tmp_path):
    out = tmp_path / "s.lesion"
    given = ("--seed", "3", "--holdout", "0.1", "--order", "uniform", "--estimand", "population")
    assert run("sweep", *home.subject, *given, "--ratios", "0.5", "-o", out).code == 0
    with Study.open(out) as study:
        before = study.header
    ran = run("sweep", "--ratios", "0.5", "-o", out)
    assert ran.code == 0 and "nothing new to measure" in ran.err
    ran = run("sweep", "--ratios", "0.75", "-o", out)
    assert ran.code == 0 and "nothing new to measure" not in ran.err
    with Study.open(out) as study:
        assert study.header == before
        assert {cell.amount for cell in study.lesions} == {0.5, 0.75}


@pytest.mark.parametrize(("option", "value", "phrase"), [
    ("--estimand", "population", "estimand (set there, population here)"),
    ("--order", "uniform", "order (margin there, uniform here)"),
    ("--score", "agreement", "score (top1 there, agreement here)"),
    ("--seed", "1", "order (seed 0, 20 % kept back there, seed 1, 20 % kept back here)"),
    ("--holdout", "0.1", "order (seed 0, 20 % kept back there, seed 0, 10 % kept back here)"),
])  # fmt: skip
def test_settings_that_are_others_are_refused_with_both(run, swept, option, value, phrase):
    before = swept.read_bytes()
    run("sweep", option, value, "-o", swept).refused(phrase, "or name a new study file")
    assert swept.read_bytes() == before


def test_code_that_has_changed_is_not_run_unasked(home, run, tmp_path):
    folder = shutil.copytree(home.folder, tmp_path / "copy")
    subject = ("--network", f"{folder}/netz.py:trained", "--data", f"{folder}/netz.py:Slow")
    out = tmp_path / "s.lesion"
    ran = run("sweep", *subject, "--ratios", "0.5", "--images", "40", "-o", out)
    assert ran.code == 0
    with (folder / "netz.py").open("a") as file:
        file.write("raise RuntimeError('this ran')\n")
    text = f"{folder}/netz.py:trained is missing or another now"
    then = f"then give --network {folder}/netz.py:trained"
    run("verify", out, "--max-drop", "50").refused(text, then)
    (folder / "netz.py").unlink()
    run("verify", out, "--max-drop", "50").refused(text)


def test_a_study_from_python_says_that_it_does_not_know(run, tmp_path):
    data = [netz.Slow()[index] for index in range(30)]
    lesion.sweep(netz.trained(), data, tmp_path / "s", ratios=(0.5,)).close()
    run("verify", tmp_path / "s", "--max-drop", "50").refused(
        f"Expected --network, which {tmp_path}/s does not say, got none"
    )
    run("sweep", "-o", tmp_path / "new").refused("Expected --network, got none")


def test_dense_targets_are_no_inputs(home, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runtimes, "TURN", 0.001)
    subject = ("--network", home.factory("Flaechen"), "--data", home.factory("Masken"))
    ran = run("layers", *subject)
    assert ran.code == 0 and "netz.eingang" in ran.out
    assert run("time", *subject, "-o", "times.json", "--batch", "2").code == 0
    score = ("--score", home.factory("treffer"))
    assert run("sweep", *subject, *score, "--full", "--ratios", "0.5", "-o", "s.lesion").code == 0
    for command in HANDED:
        ran = run(command, "s.lesion", "--macs", "80%", *HANDED[command])
        assert ran.code == 0, ran


def test_a_study_of_evaluations_goes_on_by_evaluate(home, run, tmp_path):
    path = tmp_path / "e.lesion"
    lesion.evaluate(netz.trained(), netz.whole, path, torch.rand(2, 3, 8, 8), ratios=(0.5,)).close()
    run("sweep", "-o", path).refused("holds whole evaluations; go on with it by `lesion evaluate`")
    run("sweep", "-o", path, *home.subject).refused("go on with it by `lesion evaluate`")
    for command in ("verify", "interactions"):  # not asked for a tolerance first
        run(command, path).refused("holds whole evaluations; apply the rates")


def test_a_study_is_of_one_class_map(home, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    subject = home.with_("trained", weights=None)
    (tmp_path / "map.csv").write_text("blau,0\ngruen,1\nrot,2\n")
    (tmp_path / "turned.csv").write_text("blau,2\ngruen,1\nrot,0\n")
    common = ("--ratios", "0.5", "--full", "-o")
    assert run("sweep", *subject, *common, "plain.lesion").code == 0
    assert run("sweep", *common, "plain.lesion", "--class-map", "map.csv").code == 0  # the same
    ran = run("sweep", *common, "plain.lesion", "--class-map", "turned.csv")
    ran.refused("class map (nothing there, 2 1 0 here)")
    turned = ("--class-map", "turned.csv")
    assert run("sweep", *subject, *common, "turned.lesion", *turned).code == 0
    with Study.open(tmp_path / "turned.lesion") as study:
        top1 = study.intact().outcomes["top1"].mean()
        green = study.intact().label == 1
        assert study.intact().outcomes["top1"][green].all() and top1 == green.mean()
    again = run("sweep", "--ratios", "0.5", "-o", "turned.lesion")
    assert again.code == 0 and "nothing new to measure" in again.err
    assert run("verify", "turned.lesion", *RATES, "--max-drop", "50", "--no-baselines").code == 0
    (tmp_path / "turned.csv").write_text("blau,1\ngruen,1\nrot,0\n")
    run("verify", "turned.lesion", *RATES).refused("class map (2 1 0 there, 1 1 0 here)")
    (tmp_path / "turned.csv").unlink()
    run("sweep", "-o", "turned.lesion").refused("Expected a class map at turned.csv, found no")


def test_an_evaluation_has_no_class_map(home, run, tmp_path):
    arguments = (*home.subject, "--evaluate", home.factory("whole"), "-o", tmp_path / "e.lesion")
    run("evaluate", *arguments, "--class-map", "a.csv").refused("Expected no class map for an eval")
