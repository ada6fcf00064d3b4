"""The pages run as they stand: files are written, commands and scripts run, one after the other."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lesion.cli.run import main

DOCS = Path(__file__).parent.parent / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"# (\S+)\n")
ANEW = "# in a new process"


def command_lines(text):
    """The lines of a block, each with what goes on below it."""
    return text.replace("\\\n", " ").splitlines()


def files_and_commands(page, section):
    """The blocks of a page or section: files, which bear their names, and command lines."""
    files, lines = {}, []
    told = (DOCS / page).read_text()
    if section:
        _, told = told.split(f"\n## {section}\n")
        told = told.split("\n## ")[0]
    for kind, text in BLOCK.findall(told):
        name = NAME.match(text)
        if kind == "sh":
            lines += command_lines(text)
        elif kind != "text":  # which is of clusters that are not here
            assert name, f"a block of {page} that no command runs: {text[:40]}"
            files[name[1]] = text
    return files, [line for line in lines if not line.startswith("pip install")]


@pytest.fixture
def followed(tmp_path, monkeypatch, capfd):
    """Follows a page, or a section, in an empty folder; gives what each line printed."""

    def follow(page, section=""):
        files, lines = files_and_commands(page, section)
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(tmp_path)
        for name in files:
            monkeypatch.delitem(sys.modules, Path(name).stem, raising=False)
        return [(line, run(line, tmp_path)) for line in lines]

    def run(line, folder):
        capfd.readouterr()
        words = shlex.split(line, comments=True)
        code = 0
        if line.endswith(ANEW):
            paths = os.pathsep.join([str(DOCS.parent), *sys.path[1:]])
            code = subprocess.run(
                [sys.executable, *words[1:]], cwd=folder, env={**os.environ, "PYTHONPATH": paths}
            ).returncode
        elif words[0] == "python":
            runpy.run_path(words[1], run_name="__main__")
        else:
            assert words[0] == "lesion", line
            monkeypatch.setattr(sys, "argv", words)
            try:
                main()
            except SystemExit as end:
                code = int(end.code or 0)
        shown = capfd.readouterr()
        assert not code, f"{line}\n{shown.out}\n{shown.err}"
        return shown.out

    yield follow
    for name in ("classifier", "half", "macro", "shapes", "work"):
        sys.modules.pop(name, None)


def parameters(text):
    return int(re.search(r"(\d+) parameters", text)[1])


def right(text):
    return float(re.search(r"([\d.]+) % right", text)[1])


def test_lightning(followed, tmp_path):
    lightning = pytest.importorskip("lightning", reason="lightning is not installed")
    printed = dict(followed("lightning.md"))
    told = next(text for line, text in printed.items() if "use.py" in line)
    import torch
    from classifier import Classifier

    whole = sum(weight.numel() for weight in Classifier().parameters())
    assert parameters(told) < whole and right(told) > 70  # a third by chance
    from torch.utils.data import DataLoader

    images = DataLoader(
        torch.utils.data.TensorDataset(torch.randn(4, 1, 16, 16), torch.arange(4) % 3)
    )
    trainer = lightning.Trainer(max_epochs=2, logger=False, enable_checkpointing=False)
    small = Classifier(pruned="small.safetensors")
    trainer.fit(small, images, ckpt_path="pruned.ckpt")  # goes on, as the page says
    with pytest.raises(RuntimeError, match="size"):
        trainer.fit(Classifier(pruned="small.safetensors"), images, ckpt_path="whole.ckpt")
    checkpoint = torch.load("pruned.ckpt", weights_only=False)
    checkpoint["hyper_parameters"]["pruned"] = ""
    torch.save(checkpoint, "plain.ckpt")
    with pytest.raises(RuntimeError, match="size mismatch"):
        Classifier.load_from_checkpoint("plain.ckpt")


def test_transformers(followed, tmp_path):
    pytest.importorskip("datasets", reason="datasets is not installed")
    pytest.importorskip(
        "accelerate", reason="accelerate, which the Trainer needs, is not installed"
    )
    hf = pytest.importorskip("transformers", reason="transformers is not installed")
    printed = dict(followed("transformers.md"))
    told = next(text for line, text in printed.items() if "use.py" in line)
    whole = hf.AutoModelForImageClassification.from_pretrained("resnet")
    assert parameters(told) < whole.num_parameters() and right(told) > 70
    import lesion

    lesion.load_pruned(whole, "trained.safetensors").save_pretrained("saved")
    with pytest.raises(RuntimeError, match="size"):
        hf.AutoModelForImageClassification.from_pretrained("saved")


def test_data(followed):
    printed = followed("data.md")
    assert (
        "% score on 160 images" in printed[0][1] and "on the study's own images" in printed[-1][1]
    )


def test_the_first_lines_on_the_bundled_network(followed, tmp_path):
    layers, swept, recommended, curves, _ = followed("network.md", "With the bundled one first")
    assert "20 layers in" in layers[1] and swept[0].endswith("study.lesion")
    assert "layer3.0.conv1" in recommended[1]
    assert curves[1].startswith("layer,")
    assert list((tmp_path / "figures").glob("*.png"))


def test_scores(followed):
    printed = followed("scores.md")
    assert "layer2.0.conv1" in printed[1][1]
    assert "layer3.0.conv1" in printed[3][1]
    assert re.search(r"^layer3\.0\.conv1 .* [−-]?[\d.]+ +[−-]?[\d.]+$", printed[5][1], re.MULTILINE)


def test_other_damage_and_a_budget_of_bytes(followed):
    *_, alone, mixed, curves = followed("damage.md", "On the bundled network")
    assert "bits" in alone[1] and "bytes" in mixed[1]
    assert "quantise" in curves[1] and "bytes_saved" in curves[1].splitlines()[0]


def test_rates_from_the_sweep_to_the_smaller_network(followed, tmp_path):
    printed = followed("rates.md", "On the bundled network")
    assert "MACs" in printed[1][1] and "|" in printed[4][1]
    assert (tmp_path / "small.safetensors").exists()


def test_shares_of_layers_on_several_machines_are_one_study(followed):
    printed = followed("machines.md")
    for layer in ("layer1.0.conv1", "layer2.0.conv1", "layer3.0.conv1"):
        assert layer in printed[-1][1]
