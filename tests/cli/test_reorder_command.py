"""Reordered blocks at the command line: a sweep that goes on, curves with tau, advice, pictures."""

import json

import pytest

SUBJECT = ("--network", "demo:resnet20", "--data", "demo:fashion-mnist")
SWEEP = ("--holdout", 0, "--images", 20, "--full", "--damage", "reorder:draws=2", "--amounts")


def test_a_sweep_goes_on_and_its_study_is_read(run, tmp_path):
    out = tmp_path / "r.lesion"
    for amounts in ("1", "1,3"):
        ran = run("sweep", *SUBJECT, "-o", out, *SWEEP, amounts)
        assert ran.code == 0, ran.err
    rows = json.loads(run("curves", out, "--format", "json").out)
    measured = [row for row in rows if not row["reason"]]
    assert [(row["layer"], row["amount"]) for row in measured] == [
        (draw, amount) for draw in ("draw 1", "draw 2") for amount in (1, 3)
    ]
    # of nine blocks a swap of neighbours turns one pair of 36 round, of the next but one three
    for row in measured[::2]:
        assert row["kendall_tau"] in (pytest.approx(34 / 36), pytest.approx(30 / 36))
    assert {row["bytes_saved"] for row in measured} == {0}
    stay = {row["layer"]: row["reason"] for row in rows if row["reason"]}
    assert stay["layer2.0.conv1"] == "its block changes the stream's shape"
    assert "kendall_tau" in run("curves", out).out
    text = run("recommend", out, "--damage", "reorder", "--max-drop", 1).out
    assert "Each draw by itself:" in text and "To keep" not in text
    assert "layer2.0.conv1" in text and "its block changes the stream's shape" in text
    ran = run("plot", out, "-o", tmp_path, "--damage", "reorder", "--max-drop", 1)
    assert ran.code == 0 and list(tmp_path.glob("drop-reorder.png"))
    ran = run("sweep", *SUBJECT, "-o", tmp_path / "x", *SWEEP, "1", "--layers", "layer1.*")
    ran.refused("Expected reorder of all layers", "leave the patterns out")
