"""How results look: aligned, complete for programs, and no wider than the terminal."""

import json

import pandas as pd
import pytest

from lesion.cli import output
from lesion.cli.options.values import Format

FRAME = pd.DataFrame(
    {
        "layer": ["layer1.0.conv1", "fc"],
        "block": ["layer1.0", None],
        "macs": pd.array([1234567, None], dtype="Int64"),
        "amount": [0.1, 0.25],
        "drop": [-0.004, 12.345],
    }
)


def shown(capsys, monkeypatch, width):
    monkeypatch.setattr(output, "terminal_width", lambda: width)
    output.show(FRAME, Format.table, ["block", "MACs"], {"macs": "MACs"})
    return capsys.readouterr()


def test_columns_are_aligned_and_numbers_flush_right(capsys, monkeypatch):
    assert shown(capsys, monkeypatch, None).out.splitlines() == [
        "layer           block          MACs  amount   drop",
        "layer1.0.conv1  layer1.0  1 234 567     0.1   0.00",
        "fc                                     0.25  12.35",
    ]


@pytest.mark.parametrize(
    ("width", "left"),
    [(50, ""), (49, "block"), (40, "block"), (39, "block, MACs"), (5, "block, MACs")],
)
def test_a_narrow_terminal_goes_without_columns_and_says_which(capsys, monkeypatch, width, left):
    ran = shown(capsys, monkeypatch, width)
    note = f"not shown for lack of room: {left} (--format csv has everything)\n" if left else ""
    assert ran.err == note
    assert ("block" in ran.out, "MACs" in ran.out) == (left == "", "MACs" not in left)


def test_a_terminal_gets_lines_broken_between_words(capsys, monkeypatch):
    monkeypatch.setattr(output, "terminal_width", lambda: 24)
    output.say("Skip:\n  8 layer2.0.conv1: first of stage 2\nIn the end all is well, or it is not.")
    assert capsys.readouterr().out.splitlines() == [
        "Skip:", "  8 layer2.0.conv1:", "    first of stage 2", "In the end all is well,",
        "or it is not.",
    ]  # fmt: skip


def test_reasons_are_told_once_with_the_first_layers():
    frame = pd.DataFrame(
        {"layer": ["a", "b", "b", "c", "d", "e", "f"], "reason": ["x", "x", "x", "x", "x", "", "y"]}
    )
    assert output.reasons(frame) == ["  a, b, c and 1 more: x", "  f: y"]


@pytest.mark.parametrize("command", ["recommend", "refine", "verify"])
def test_json_is_alone_on_standard_output(run, swept, tmp_path, command):
    out = tmp_path / "rates.json"
    ran = run(command, swept, "--macs", "95%", "--skip", "zweig.*", "--format", "json", "-o", out)
    assert ran.code == 0 and f"rates: {out}" in ran.err
    json.loads(ran.out)
