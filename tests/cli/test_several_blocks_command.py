"""Several blocks deleted at the command line: sweeps, advice, curves, pictures, joined studies."""

import json

import pytest

import lesion
from lesion.reports.plots.sensitivity import sensitivity_table
from lesion.study.study import Study

SUBJECT = ("--network", "demo:resnet20", "--data", "demo:fashion-mnist")
IMAGES = ("--holdout", 0, "--images", 20)
SWEEP = (*IMAGES, "--full", "--amounts", "1,3,9", "--damage")
DAMAGES = ("truncate", "delete_blocks:draws=2")
STAGES, DRAWS = ["stage 1", "stage 2", "stage 3"], ["draw 1", "draw 2"]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("blocks") / "b.lesion"


@pytest.fixture
def swept(run, out):
    if not out.exists():
        sweep(run, out, *DAMAGES)
    return out


def sweep(run, out, *damages, options=SWEEP):
    for damage in damages:
        ran = run("sweep", *SUBJECT, "-o", out, *options, damage)
        assert ran.code == 0, ran.err


def rows_of(run, study):
    return json.loads(run("curves", study, "--format", "json").out)


def test_curves_have_a_row_a_stage_or_draw_and_amount(run, swept):
    rows = [row for row in rows_of(run, swept) if not row["reason"]]
    stages = [row for row in rows if row["damage"] == "truncate"]
    draws = [row for row in rows if row["damage"] == "delete_blocks"]
    assert rows == stages + draws
    assert [(row["layer"], row["amount"]) for row in stages] == [
        (stage, amount) for stage in STAGES for amount in (1, 3)
    ]
    assert [(row["kind"], row["stage"]) for row in stages[::2]] == [
        ("stage", number) for number in (1, 2, 3)
    ]
    assert [(row["kind"], row["layer"], row["amount"]) for row in draws] == [
        ("network", draw, amount) for draw in DRAWS for amount in (1, 3, 9)
    ]
    for part in (draws[:3], draws[3:]):
        saved = [row["macs_saved"] for row in part]
        assert saved == sorted(saved) and 90 < saved[-1] < 100
    assert [row["bytes_saved"] for row in stages[3::2]] == [100, 100]  # no layer but the blocks'
    assert draws[2]["drop"] == draws[5]["drop"]  # all blocks, whatever the order
    missing = [row["reason"] for row in rows_of(run, swept) if row["kind"] == "stage"]
    assert "9 blocks: it ends in 3 blocks, behind conv1, which no stream passes" in missing


def test_advice_says_how_far_stages_are_cut_and_draws_go(run, swept):
    text = run("recommend", swept, "--damage", "truncate", "--max-drop", 1).out
    assert "To keep in full length (" in text and "Each stage by itself:" in text
    assert "where one stage is damaged" in text and "fc: it belongs to no stage" in text
    text = run("recommend", swept, "--damage", "delete_blocks", "--max-drop", 1).out
    assert "To keep" not in text and "Each draw by itself:" in text
    assert "in the order of each draw" in text and "conv1, fc: no stream passes" in text
    for damage, targets in (("truncate", STAGES), ("delete_blocks", DRAWS)):
        ran = run("recommend", swept, "--damage", damage, "--max-drop", 99, "--format", "json")
        advice = json.loads(ran.out)
        most = 3 if damage == "truncate" else 9
        assert advice["rates"] == dict.fromkeys(targets, most)
        measured = [row["layer"] for row in advice["layers"] if row["status"] == "safe"]
        assert measured == targets and not advice["skip"]
    assert {row["layer"] for row in advice["layers"]} == {*DRAWS, "conv1", "fc"}


def test_pictures_have_one_panel(run, swept, tmp_path):
    for damage, what in (("truncate", "stage"), ("delete_blocks", "draw")):
        ran = run("plot", swept, "-o", tmp_path, "--damage", damage, "--max-drop", 1)
        assert ran.code == 0, ran.err
        names = {path.name for path in tmp_path.glob(f"*-{damage}.png")}
        assert names == {f"{name}-{damage}.png" for name in PICTURES}
        with Study.open(swept) as study:
            curves = lesion.curves(study)
            (axes,) = lesion.plot_sensitivity(curves, lesion.recommend(study, 1, damage=damage))
        assert set(sensitivity_table(curves, damage=damage)["panel"]) == {""}
        assert axes.get_xlabel().endswith(f"blocks deleted in this {what}")


PICTURES = ("sensitivity", "drop", "heatmap", "rates")


def test_a_study_goes_on_with_more_draws_and_joins_others(run, swept, tmp_path):
    before = rows_of(run, swept)
    part = tmp_path / "part.lesion"
    options = (*IMAGES, "--full", "--amounts", "1,3", "--damage")
    sweep(run, part, "delete_blocks:draws=1", "delete_blocks:draws=3", options=options)
    assert run("merge", part, swept, "-o", tmp_path / "both.lesion").code == 0
    joined = rows_of(run, tmp_path / "both.lesion")
    assert [row for row in joined if row["layer"] != "draw 3"] == before
    assert [row["amount"] for row in joined if row["layer"] == "draw 3"] == [1, 3]
    sweep(run, swept, *DAMAGES)
    assert rows_of(run, swept) == before


def test_a_deciding_sweep_says_as_much_as_a_full_one(run, swept, tmp_path):
    out = tmp_path / "decided.lesion"
    options = (*IMAGES, "--amounts", "1,3,9", "--max-drop", 20, "--damage")
    sweep(run, out, "delete_blocks:draws=2", options=options)
    rates = [
        json.loads(run("recommend", study, "--damage", "delete_blocks", "--max-drop", 20,
                       "--format", "json").out)["rates"]
        for study in (swept, out)
    ]  # fmt: skip
    assert rates[0] == rates[1]


def test_some_layers_are_refused(run, tmp_path):
    ran = run("sweep", *SUBJECT, "-o", tmp_path / "x", *SWEEP, DAMAGES[1], "--layers", "layer1.*")
    ran.refused("Expected delete_blocks of all layers", "leave the patterns out")
