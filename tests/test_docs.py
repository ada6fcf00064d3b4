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


def files_and_commands(page):
    """The blocks of a page: files, which bear their names, and command lines."""
    files, lines = {}, []
    for kind, text in BLOCK.findall((DOCS / page).read_text()):
        name = NAME.match(text)
        if kind == "sh":
            lines += text.replace("\\\n", " ").splitlines()
        else:
            assert name, f"a block of {page} that no command runs: {text[:40]}"
            files[name[1]] = text
    return files, [line for line in lines if not line.startswith("pip install")]


@pytest.fixture
def followed(tmp_path, monkeypatch, capfd):
    """Follows a page in an empty folder; gives what each line printed."""

    def follow(page):
        files, lines = files_and_commands(page)
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
    for name in ("classifier", "shapes", "work"):
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
