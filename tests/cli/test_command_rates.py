"""Rates on the command line: budgets, checks on the images kept back, interactions, times."""

import json
import re

import pandas as pd
import pytest

from cli.netz import IMAGES
from lesion.rates import runtimes
from lesion.rates.allocation import Allocation
from lesion.rates.latency import LayerTime, Times

HELD = IMAGES // 5
WHOLE = 64 * (3 * 8 + 8 * 6 + 3 * 4 + 4 * 6) + 18


def test_rates_within_a_budget(swept, run):
    """Half of eingang's filters are idle, and so are all of zweig.rein's."""
    ran = run("recommend", swept, "--macs", "60%")
    assert ran.code == 0
    assert "Asked: at most 60 % of the MACs, least predicted drop; filters fall by l1." in ran.out
    assert "eingang: 50 %, 4 of 8 channels stay; alone 0.00 points" in ran.out
    assert "lesion verify" in ran.out


def test_what_is_predicted_by_is_chosen(swept, run):
    said = {by: run("recommend", swept, "--macs", "60%", "--by", by) for by in ("drops", "margins")}
    assert "A prediction: single drops composed" in said["drops"].out
    assert "A prediction: each image's margin moves" in said["margins"].out


def test_rates_for_programs_are_saved_rates(swept, run, tmp_path):
    out = tmp_path / "rates.json"
    ran = run("recommend", swept, "--params", "0.7", "--format", "json")
    found = Allocation.from_dict(json.loads(ran.out))
    run("recommend", swept, "--params", "0.7", "-o", out)
    assert Allocation.load(out) == found
    assert found.pruned.parameters <= 0.7 * found.intact.parameters
    table = run("recommend", swept, "--params", "0.7", "--format", "csv").out.splitlines()
    assert table[0].split(",")[:6] == ["unit", "kind", "stage", "channels", "kept", "rate"]


def test_the_stages_rates_are_saved_too(swept, run, tmp_path):
    out = tmp_path / "rates.json"
    assert run("recommend", swept, "--max-drop", "20", "-o", out).code == 0
    found = Allocation.load(out)
    assert {rate.unit: rate.rate for rate in found.cut} == {"eingang": 0.5, "zweig.rein": 0.5}


def test_verify_measures_on_the_images_kept_back(home, swept, run, tmp_path):
    out = tmp_path / "rates.json"
    ran = run(
        "verify", swept, *home.subject, "--macs", "60%", "--max-drop", "20", "--full", "-o", out
    )
    assert ran.code == 0, ran.err
    assert "Check 1: 2 units cut" in ran.out
    assert f"SAFE for 20 points after {HELD} of the {HELD} images kept back" in ran.out
    assert "measured 0.00 [" in ran.out
    again = run("verify", swept, *home.subject, "--rates", out, "--max-drop", "20", "--full")
    assert "Check 2: 2 units cut" in again.out


def test_verify_tightens(home, swept, run, tmp_path):
    """At 40 % blue's filter must fall, or so the budget says; a third of the images then breaks."""
    out = tmp_path / "rates.json"
    ran = run(
        "verify", swept, *home.subject, "--macs", "40%", "--max-drop", "10", "--close-loop",
        "-o", out,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert "SENSITIVE for 10 points" in ran.out and "SAFE for 10 points" in ran.out
    assert {rate.unit: rate.rate for rate in Allocation.load(out).cut}["eingang"] == 0.5


def test_verify_for_programs(home, swept, run):
    ran = run("verify", swept, *home.subject, "--macs", "60%", "--max-drop", "20",
              "--format", "json")  # fmt: skip
    (check,) = json.loads(ran.out)
    assert check["verdict"] == "safe" and check["held"] == HELD
    assert check["alpha"] == pytest.approx(0.025)


def test_interactions(home, swept, run):
    ran = run("interactions", swept, *home.subject, "--macs", "40%", "--format", "json")
    (pair,) = json.loads(ran.out)
    assert {pair["first"], pair["second"]} == {"eingang", "zweig.rein"}
    expected = pair["together"] - pair["first_drop"] - pair["second_drop"]
    assert pair["interaction"] == pytest.approx(expected)
    assert pair["images"] == IMAGES - HELD


def test_times_are_written(home, run, tmp_path, monkeypatch):
    monkeypatch.setattr(runtimes, "TURN", 0.001)
    out = tmp_path / "times.json"
    ran = run("time", *home.subject, "-o", out, "--batch", "4")
    assert ran.code == 0 and "5 layers; 4 images take" in ran.out
    assert "smaller networks are predicted to within" in ran.out
    assert {timed.layer for timed in Times.load(out).layers} == {
        "eingang", "mitte", "zweig.rein", "zweig.raus", "kopf",
    }  # fmt: skip


def test_a_budget_of_latency(swept, run, tmp_path):
    """A layer takes what it reads times what it makes: 24 + 48 + 12 + 24 + 18 ms at full width,
    and half of eingang's channels take half of what it makes and of what the layers behind read."""
    layers = ("eingang", "mitte", "zweig.rein", "zweig.raus", "kopf")
    laws = tuple(LayerTime(layer, (0, 0, 0, 1), 0.0) for layer in layers)
    times = tmp_path / "times.json"
    Times("cpu", 1, 4, 126.0, laws).save(times)
    ran = run("recommend", swept, "--latency", "90%", "--times", times)
    assert ran.code == 0 and "ms, predicted" in ran.out
    assert "eingang: 50 %, 4 of 8 channels stay" in ran.out
    ran = run("recommend", swept, "--latency", "1%", "--times", times)
    ran.refused("rates with at most 1 % of the latency", "out of reach")


def test_saved_rates_are_told_again(swept, run, tmp_path):
    out = tmp_path / "rates.json"
    first = run("recommend", swept, "--macs", "60%", "-o", out)
    again = run("recommend", swept, "--rates", out)
    assert again.code == 0 and again.out.strip() and again.out in first.out


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (("--macs", "1%"), ("out of reach: the fewest MACs",)),
        (("--macs", "half"), ("Expected a share such as 50%", "got 'half'")),
        (("--macs", "0%"), ("above 0 and up to 100 %",)),
        (("--macs", "least"), ("Expected a bound beside the least MACs",)),
        (("--macs", "60%", "--pin", "nichts=0.5"), ("Expected the pattern of a layer", "nichts")),
        (("--macs", "60%", "--pin", "eingang"), ("Expected a rate such as 'layer1.*=0.3'",)),
        (("--macs", "60%", "--pin", "eingang=0.5", "--pin", "ein*=0.75"), ("Expected one rate",)),
        (("--macs", "60%", "--pin", "eingang=0.9"), ("that reaches rate 0.9", "measure that")),
        (("--macs", "60%", "--pin", "mitte=0.5"), ("Expected a curve of", "--units all")),
        (("--macs", "60%", "--align", "64"), ("Expected channels aligned to 8 or fewer",)),
        (("--latency", "60%"), ("Expected a table of times", "lesion time")),
        (("--skip", "mitte"), ("Expected a budget for --skip, got none", "--macs 50%")),
        (("--by", "drops"), ("Expected a budget for --by",)),
        (("--rates", "no.json", "--max-rate", "0.5"), ("Expected a budget for --max-rate",)),
        (("--macs", "60%", "--rates", "no.json"), ("Expected saved rates or a budget, got both",)),
        (("--macs", "60%", "--max-drop", "-1"), ("Expected a joint drop in points",)),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(swept, run, arguments, texts):
    run("recommend", swept, *arguments).refused(*texts)


def test_files_that_are_not_what_they_should_be(home, swept, run, tmp_path):
    wrong = tmp_path / "wrong.json"
    wrong.write_text("{}")
    verify = ("verify", swept, *home.subject)
    run(*verify, "--rates", wrong).refused("Expected rates as `lesion recommend --format json`")
    run(*verify, "--rates", tmp_path / "none.json").refused(
        "cannot be read", "give a file that `lesion recommend -o` wrote."
    )
    run("recommend", swept, "--latency", "50%", "--times", wrong).refused(
        "Expected a table of times"
    )
    other = home.with_(weights=None)
    run("verify", swept, *other, "--macs", "60%").refused("another came: weights")


def test_a_table_of_rates_is_readable(swept, run):
    found = pd.read_csv(pd.io.common.StringIO(
        run("recommend", swept, "--macs", "60%", "--format", "csv").out
    ))  # fmt: skip
    assert set(found["unit"]) == {"eingang", "mitte", "zweig.rein"}


def test_refine_measures_together(home, swept, run, tmp_path):
    out = tmp_path / "rates.json"
    ran = run("refine", swept, *home.subject, "--macs", "50%", "-o", out)
    assert ran.code == 0, ran.err
    assert "refined by measuring" in ran.out and f"rates: {out}" in ran.out
    found = Allocation.load(out)
    assert found.pruned.macs <= 0.5 * WHOLE
    run("refine", swept, *home.subject).refused("Expected a budget for rates")


def test_calibrate_changes_the_upper_prediction(home, swept, run):
    ran = run("calibrate", swept, *home.subject, "--sets", "60")
    assert ran.code == 0, ran.err
    assert f"60 random sets of rates on {IMAGES - HELD} images" in ran.out
    assert "as 60 of them on this network showed" in run("recommend", swept, "--macs", "60%").out


def test_the_tradeoff_is_measured_and_drawn(home, swept, run, tmp_path):
    ran = run(
        "tradeoff", swept, *home.subject, "--shares", "0.8,0.5,0.01", "-o", tmp_path / "figures",
        "--format", "csv",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    lines = [line for line in ran.out.splitlines() if line.startswith(("lesion,", "uniform,"))]
    assert len(lines) == 1 + 2 + 2  # the intact network, two budgets in reach
    assert (tmp_path / "figures" / "tradeoff.png").exists()


@pytest.mark.parametrize("to", ["json", "yaml", "csv", "markdown", "nni", "fasterai"])
def test_exports_that_need_no_network(swept, run, tmp_path, to):
    ran = run("export", swept, "--macs", "60%", "--to", to)
    assert ran.code == 0, ran.err
    assert "eingang" in ran.out
    out = tmp_path / "rates"
    run("export", swept, "--macs", "60%", "--to", to, "-o", out)
    assert out.read_text().strip() == ran.out.strip()


def test_exports_that_need_the_network(home, swept, run, tmp_path):
    out = tmp_path / "tp.json"
    alone = ("--macs", "70%", "--skip", "zweig*")  # whose groups lose different positions
    ran = run("export", swept, *home.subject, *alone, "--to", "torch-pruning", "-o", out)
    assert ran.code == 0, ran.err
    assert json.loads(out.read_text())["pruning_ratio"] == 0
    assert re.search(r"^    \"eingang\": \[\d+(, \d+)*\],?$", out.read_text(), re.MULTILINE)
    again = tmp_path / "again.json"
    assert run("export", swept, *alone, "--to", "torch-pruning", "-o", again).code == 0
    assert again.read_bytes() == out.read_bytes()
    run("export", swept, "--macs", "60%", "--to", "torchpruning").refused(
        "Expected an export target", "did you mean torch-pruning?"
    )
    run("export", swept, "--macs", "60%", "--to", "masks").refused("give one with -o")


def test_other_weights_are_refused(home, swept, run, tmp_path):
    other = home.with_(weights=None)
    for command in (("export", "--to", "torch-prune"), ("apply",)):
        ran = run(command[0], swept, *other, "--macs", "70%", *command[1:], "-o", tmp_path / "x")
        ran.refused("Expected the network that the study measured, but its weights are others")


@pytest.mark.parametrize("name", ["small.safetensors", "small.pt2", "small.onnx"])
def test_apply_writes_the_pruned_network(home, swept, run, tmp_path, name):
    out = tmp_path / name
    ran = run("apply", swept, *home.subject, "--macs", "70%", "--skip", "zweig*", "-o", out)
    assert ran.code == 0, ran.err
    assert out.stat().st_size > 0 and "parameters; outputs as those of the lesioned" in ran.out
    assert ("lesion.load_pruned(" in ran.out) == (out.suffix == ".safetensors")


def test_the_shape_of_an_input_is_enough(home, swept, run, tmp_path, monkeypatch):
    """Where nothing is scored."""
    monkeypatch.setattr(runtimes, "TURN", 0.001)
    ran = run("layers", *home.network, "--input", "3x8x8")
    assert ran.code == 0, ran.err
    assert ran.out == run("layers", *home.subject).out
    times = tmp_path / "times.json"
    ran = run("time", *home.network, "--input", "3x8x8", "--batch", "2", "-o", times)
    assert ran.code == 0 and times.exists()
    out = tmp_path / "small.safetensors"
    ran = run("apply", swept, *home.network, "--input", "3x8x8", "--macs", "70%", "-o", out)
    assert ran.code == 0 and out.exists(), ran.err


@pytest.mark.parametrize("shape", ["3x8x", "8,8", "3x-8x8", "", "3x0x8"])
def test_what_is_no_shape(home, run, shape):
    ran = run("layers", *home.network, "--input", shape)
    ran.refused("Expected the shape of one input for --input")


def test_neither_data_nor_a_shape(home, run):
    run("layers", *home.network).refused("Expected --data or the shape of an input")


def test_times_by_a_function(home, run, tmp_path):
    file = tmp_path / "clock.py"
    file.write_text("def clock(module, images):\n    return 2.0 + len(images)\n")
    out = tmp_path / "times.json"
    ran = run("time", *home.subject, "--with", f"{file}:clock", "--batch", "3", "-o", out)
    assert ran.code == 0, ran.err
    assert json.loads(out.read_text())["whole"] == 5.0
    run("time", *home.subject, "--with", "tvm", "-o", out).refused("Expected a runtime, torch or")


def test_rates_are_drawn(swept, run, tmp_path):
    rates = tmp_path / "rates.json"
    run("recommend", swept, "--macs", "60%", "-o", rates)
    ran = run("plot", swept, "-o", tmp_path / "figures", "--rates", rates, "--max-drop", "20")
    assert str(tmp_path / "figures" / "channels.png") in ran.out


def test_interactions_are_drawn(home, swept, run, tmp_path):
    ran = run("interactions", swept, *home.subject, "--macs", "40%", "-o", tmp_path)
    assert (tmp_path / "interactions.png").exists(), ran
