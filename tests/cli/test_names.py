"""Layers, classes and files with hostile names: harmless on the terminal, in tables and figures."""

import csv
import io
import json
import unicodedata
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

NAMES = (
    "=1+1", "-2", "@a", "\x1b[31mred\x07", "a\nb\r", "\u202ecba", "[/]x[red]", "$a^{b$", "n\x00l",
    "![x](https:x)<b>|&lt;", "x" * 500,
)  # fmt: skip
MODULE = """
from torch import nn


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.names = {names!r}
        width = 3
        for name in self.names:
            self.add_module(name, nn.Conv2d(width, 4, 1))
            width = 4
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        for name in self.names:
            x = self._modules[name](x).relu()
        return self.fc(x.mean((2, 3)))
"""


def harmless(text: str) -> bool:
    """Nothing in it steers a terminal."""
    plain = text.replace("\n", "")
    return not any(unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp") for one in plain)


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    folder = tmp_path_factory.mktemp("names")
    (folder / "net.py").write_text(MODULE.format(names=NAMES))
    for place in range(8):
        target = folder / "val" / ("=a\x1b[2J", "b\nc")[place % 2]
        target.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), 20 * place, np.uint8)).save(target / f"{place}.png")
    return ("--network", f"{folder}/net.py:Named", "--data", f"imagefolder:{folder}/val")


@pytest.fixture
def named(run, subject, tmp_path):
    out = tmp_path / "named.lesion"
    ran = run("sweep", *subject, "-o", out, "--full", "--ratios", "0.5", "--holdout", 0)
    assert ran.code == 0 and harmless(ran.out + ran.err)
    return out


def test_tables_and_texts_steer_no_terminal(run, subject, named):
    for command in (("layers", *subject), ("curves", named), ("recommend", named)):
        ran = run(*command)
        assert ran.code == 0 and harmless(ran.out + ran.err)
        assert r"\u001b[31mred\u0007" in ran.out and r"a\nb\r" in ran.out and "[/]x[red]" in ran.out
        if command[0] != "recommend":
            rows = [line for line in ran.out.splitlines() if "\\u202ecba" in line]
            assert rows and all(len(line) < 250 for line in rows)


def test_errors_steer_no_terminal(run, subject, named, tmp_path):
    ran = run("sweep", *subject, "-o", tmp_path / "x.lesion", "--layers", "\x1b[31m\nx")
    ran.refused(r"got '\u001b[31m\nx'")
    assert harmless(ran.err)
    ran = run("curves", tmp_path / "\x1b[31m\n.lesion")
    ran.refused(r"\u001b[31m\n.lesion")
    assert harmless(ran.err)


def test_cells_are_no_formulas_and_numbers_stay_numbers(run, named):
    for command in (("curves", named), ("recommend", named)):
        rows = list(csv.DictReader(io.StringIO(run(*command, "--format", "csv").out)))
        assert [row["layer"] for row in rows][:3] == ["'=1+1", "'-2", "'@a"]
        for row in rows:
            for column, text in row.items():
                if column not in ("low", "drop", "loss_rise"):
                    assert not text.startswith(("=", "+", "-", "@", "\t", "\r")), (column, text)
                elif text:
                    float(text)
    assert any(float(row["low"] or 0) < 0 for row in rows)


def test_json_holds_the_names_themselves(run, named):
    rows = json.loads(run("curves", named, "--format", "json").out)
    assert {row["layer"] for row in rows} == {*NAMES, "fc"}


@pytest.mark.parametrize("to", ["csv", "markdown", "yaml", "json", "fasterai", "nni"])
def test_exports_steer_no_terminal(run, named, to):
    ran = run("export", named, "--to", to, "--macs", "70%")
    assert ran.code == 0 and harmless(ran.out + ran.err)
    if to == "markdown":
        assert r"!\[x\](https:x)\<b>\|\&lt;" in ran.out and "](" not in ran.out.replace(r"\](", "")
    if to == "csv":
        table = "".join(row for row in ran.out.splitlines(True) if not row.startswith("#"))
        rows = list(csv.DictReader(io.StringIO(table)))
        assert [row["layer"] for row in rows][:3] == ["'=1+1", "'-2", "'@a"]


def test_figures_are_drawn_with_any_name(run, named, tmp_path):
    folder = tmp_path / "figures"
    rates = tmp_path / "rates.json"
    assert run("recommend", named, "--macs", "70%", "-o", rates).code == 0
    ran = run("plot", named, "-o", folder, "--formats", "svg,pdf,png", "--rates", rates)
    assert ran.code == 0, ran.err
    figures = sorted(Path(folder).glob("*.svg"))
    assert len(figures) == 6
    for path in figures:
        root = ElementTree.parse(path).getroot()  # whose parser refuses control characters
        assert harmless("".join(root.itertext()).replace("\t", ""))
