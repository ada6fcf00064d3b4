"""The command line as a user meets it: `run` gives exit status, results, and what was told."""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cli import netz
from lesion.cli.run import main

HERE = Path(__file__).parent
CLASSES = ("blau", "gruen", "rot")


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    def refused(self, *texts: str) -> None:
        """One sentence, exit status 1, each text in it, no traceback."""
        assert self.code == 1, self
        (sentence,) = (line for line in self.err.splitlines() if line.startswith("lesion: "))
        for text in texts:
            assert text in sentence
        assert "Traceback" not in self.err


@pytest.fixture
def run(monkeypatch, capfd):
    """`lesion` with these arguments, in this process."""

    def called(*arguments) -> Ran:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["lesion", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        return Ran(code, *capfd.readouterr())

    return called


@dataclass(frozen=True)
class Home:
    """A user's folder: netz.py, netz.pt, and images in val/."""

    folder: Path

    @property
    def subject(self) -> tuple[str, ...]:
        return self.with_()

    @property
    def network(self) -> tuple[str, ...]:
        """Without data."""
        return ("--network", f"{self.folder}/netz.py:Netz", "--weights", f"{self.folder}/netz.pt")

    def with_(self, network="Netz", weights="netz.pt", data=None) -> tuple[str, ...]:
        found = ("--network", f"{self.folder}/netz.py:{network}")
        found += ("--data", data or f"imagefolder:{self.folder}/val")
        return found + (("--weights", f"{self.folder}/{weights}") if weights else ())

    def factory(self, name: str) -> str:
        return f"{self.folder}/netz.py:{name}"


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Home:
    folder = tmp_path_factory.mktemp("home")
    (folder / "netz.py").write_text((HERE / "netz.py").read_text())
    torch.save({"state_dict": netz.trained().state_dict()}, folder / "netz.pt")
    noise = np.random.default_rng(0)
    for place in range(netz.IMAGES):
        label = place % len(CLASSES)
        pixels = noise.integers(0, 60, (8, 8, 3), np.uint8)
        pixels[:, :, 2 - label] += 150
        target = folder / "val" / CLASSES[label]
        target.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(target / f"{place:02}.png")
    return Home(folder)


@pytest.fixture(scope="session")
def study(home) -> Path:
    """A study of everything at 0.5 and 0.75 on every image, only to be read."""
    out = home.folder / "study.lesion"
    with pytest.MonkeyPatch.context() as patched, pytest.raises(SystemExit) as end:
        ratios = ("--ratios", "0.5, 75%", "--full")
        patched.setattr(sys, "argv", ["lesion", "sweep", *home.subject, "-o", str(out), *ratios])
        main()
    assert not end.value.code
    return out


@pytest.fixture
def swept(study, tmp_path) -> Path:
    """A copy of the study."""
    return Path(shutil.copy(study, tmp_path / "study.lesion"))


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent.parent)}
