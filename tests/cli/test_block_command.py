"""Deleted blocks at the command line: a sweep, advice, curves, pictures, and joined studies."""

import json

import pytest

import lesion
from lesion.reports.plots.sensitivity import sensitivity_table
from lesion.study.study import Study

SUBJECT = ("--network", "demo:resnet20", "--data", "demo:fashion-mnist")
BLOCKS = [f"layer{stage}.{place}" for stage in (1, 2, 3) for place in (0, 1, 2)]
SWEEP = ("--full", "--holdout", 0, "--images", 20, "--damage", "delete_block")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("blocks") / "b.lesion"


@pytest.fixture
def swept(run, out):
    if not out.exists():
        assert run("sweep", *SUBJECT, "-o", out, *SWEEP).code == 0
    return out


def test_curves_have_a_row_a_block_and_one_a_layer_outside(run, swept):
    rows = json.loads(run("curves", swept, "--format", "json").out)
    blocks = [row for row in rows if row["kind"] == "block"]
    assert [row["layer"] for row in blocks] == BLOCKS
    assert all(row["layer"] == row["block"] and row["images"] == 20 for row in blocks)
    assert [row["stage"] for row in blocks] == [1] * 3 + [2] * 3 + [3] * 3
    assert {row["bytes_saved"] for row in blocks} == {row["macs_saved"] for row in blocks} == {100}
    others = {row["layer"]: row["reason"] for row in rows if row["kind"] != "block"}
    assert others == dict.fromkeys(
        ("conv1", "fc"), "no stream passes beside it that could take its place"
    )


def test_advice_says_which_blocks_to_keep(run, swept):
    text = run("recommend", swept, "--max-drop", 1).out
    listed = text.partition("To keep in place (")[2].partition("Not measured")[0]
    assert listed and "Each block by itself:" in text and "where one block is damaged" in text
    assert "first of stage 2, down-sampling" in text and "its deletion cost" in listed
    assert all(f"{block}:" in text for block in BLOCKS if block not in _undecided(text))
    advice = json.loads(run("recommend", swept, "--max-drop", 90, "--format", "json").out)
    assert advice["rates"] == dict.fromkeys(BLOCKS, 1)
    assert {entry["layer"] for entry in advice["layers"]} == {*BLOCKS, "conv1", "fc"}
    text = run("recommend", swept, "--max-drop", 90).out
    assert "safe when deleted (" in text and "To keep in place (none of 9 measured)" in text
    assert "  deleted: " in text.partition("Most sensitive first:")[2]


def _undecided(text):
    return text.partition("not told yet: ")[2].partition("\n")[0].split(", ")


def test_pictures_go_from_in_place_to_deleted(run, swept, tmp_path):
    written = run("plot", swept, "-o", tmp_path, "--max-drop", 1).out.split()
    names = {name.rpartition("/")[2] for name in written if name.endswith(".png")}
    assert {f"{name}-delete_block.png" for name in ("drop", "heatmap", "rates")} <= names
    with Study.open(swept) as study:
        curves = lesion.curves(study)
        table = sensitivity_table(curves)
        assert table.groupby("label")["amount"].apply(list).tolist() == [[0.0, 1.0]] * 9
        axes = lesion.plot_sensitivity(curves, lesion.recommend(study, 1))
        heatmap = lesion.plot_heatmap(curves)
    ticks = [text.get_text() for text in axes[-1].get_xticklabels()]
    assert ticks == ["in place", "deleted"]
    assert [text.get_text() for text in heatmap.get_xticklabels()] == ["deleted"]


def test_a_study_goes_on_and_joins_others(run, swept, tmp_path):
    before = json.loads(run("curves", swept, "--format", "json").out)
    part = tmp_path / "part.lesion"
    options = ("--full", "--holdout", 0, "--images", 20, "--layers", "layer1.0.*")
    assert run("sweep", *SUBJECT, "-o", part, *options, "--damage", "delete_block").code == 0
    assert run("sweep", *SUBJECT, "-o", part, *options, "--damage", "binary").code == 0
    assert run("merge", swept, part, "-o", tmp_path / "both.lesion").code == 0
    rows = json.loads(run("curves", tmp_path / "both.lesion", "--format", "json").out)
    assert [row for row in rows if row["kind"] == "block"] == [
        row for row in before if row["kind"] == "block"
    ]
    assert {row["layer"] for row in rows if row["damage"] == "binary"} == {
        "layer1.0.conv1", "layer1.0.conv2",
    }  # fmt: skip
    again = run("sweep", *SUBJECT, "-o", swept, *SWEEP)
    assert again.code == 0
    assert json.loads(run("curves", swept, "--format", "json").out) == before


def test_two_blocks_cannot_be_deleted_at_once(run, tmp_path):
    ran = run("sweep", *SUBJECT, "-o", tmp_path / "x", *SWEEP, "--amounts", 2)
    ran.refused("whole blocks between 0 and 1, got 2", "1 deletes it")
