"""Other damage than filters at the command line: options, amounts, several in one sweep."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from cli import netz
from lesion.lesions.damage import names


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("damage") / "d.lesion"


@pytest.fixture
def out(home, run, path):
    """A study of three kinds of damage, measured once."""
    if not path.exists():
        ran = run("sweep", *home.subject, "-o", path, "--full", "--holdout", 0, "--images", 20,
                  "--damage", "quantise:per=tensor,clip=mse, low_rank,filters")  # fmt: skip
        assert ran.code == 0
    return path


def test_several_damages_come_into_one_study(run, out):
    rows = json.loads(run("curves", out, "--format", "json").out)
    measured = {row["damage"] for row in rows if not row["reason"]}
    assert measured == {"quantise:per=tensor,clip=mse", "low_rank", "filters"}
    table = run("curves", out).out
    assert "bytes_saved" in table
    assert "low_rank: it has groups" in table.partition("without numbers:")[2]


def test_amounts_go_on_in_the_same_study(home, run, out):
    more = ("--damage", "quantise:clip=mse,per=tensor", "--full", "--images", 20)
    for option in ("--amounts", "--ratios"):
        assert run("sweep", *home.subject, "-o", out, *more, option, "7,5").code == 0
    rows = json.loads(run("curves", out, "--format", "json").out)
    quantised = [row for row in rows if row["damage"] == "quantise:per=tensor,clip=mse"]
    bits = {row["amount"] for row in quantised if not row["reason"]}
    assert bits == {8, 7, 6, 5, 4, 3, 2}


def test_advice_says_what_to_keep_in_all_bits(run, out):
    text = run("recommend", out, "--damage", "quantise:per=tensor,clip=mse", "--max-drop", 1).out
    assert "To keep in 32 bits (" in text and "safe down to" in text
    text = run("recommend", out, "--damage", "low_rank", "--max-drop", 90).out
    assert "safe up to" in text and "it has groups" in text


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        (
            ("--damage", "quantise,n_m", "--amounts", "2"),
            ("one damage where --amounts", "quantise,n_m"),
        ),
        (("--damage", "quantise", "--amounts", "0.5"), ("whole bit widths", "got 0.5")),
        (("--damage", "quantise,nm"), ("did you mean n_m",)),
        (("--damage", "low_rank:form=qr"), ("svd or spatial or tucker2 or cp", "'qr'")),
    ],
)
def test_what_cannot_be_is_told_before_any_work(home, run, tmp_path, options, texts):
    run("sweep", *home.subject, "-o", tmp_path / "x", *options).refused(*texts)
    assert not (tmp_path / "x").exists()


def test_evaluations_take_several_damages_too(home, run, tmp_path):
    out = tmp_path / "e.lesion"
    ran = run("evaluate", *home.subject, "--evaluate", home.factory("whole"), "-o", out,
              "--layers", "mitte", "--damage", "noise,low_rank")  # fmt: skip
    assert ran.code == 0
    rows = json.loads(run("curves", out, "--format", "json").out)
    measured = [row for row in rows if row["layer"] == "mitte" and not row["reason"]]
    assert {row["damage"] for row in measured} == {"noise", "low_rank"}
    assert all((row["bytes_saved"] > 0) is (row["damage"] == "low_rank") for row in measured)
    text = run("recommend", out, "--damage", "low_rank", "--max-drop", 0.5).out
    assert "in full rank" in text


def test_help_names_every_damage(run):
    words = set(re.findall(r"\w+", run("sweep", "--help").out))
    assert words >= set(names())


def test_a_dry_run_foresees_each_damage(home, run, tmp_path):
    out = tmp_path / "d.lesion"
    ran = run("sweep", *home.subject, "-o", out, "--damage", "ternary,noise", "--dry-run")
    assert ran.code == 0 and ran.out.count("lesions of") == 2 and not out.exists()


def test_bits_go_to_tools_that_quantise(home, run, tmp_path):
    study, path = tmp_path / "q.lesion", tmp_path / "x.onnx"
    options = ("--full", "--holdout", 0, "--images", 20, "--damage", "filters,quantise:clip=mse")
    assert run("sweep", *home.subject, "-o", study, *options).code == 0
    advice = json.loads(run("recommend", study, "--damage", "quantise:clip=mse",
                            "--max-drop", 90, "--format", "json").out)  # fmt: skip
    stood = {layer: int(bits) for layer, bits in advice["rates"].items()}
    rest = [layer["layer"] for layer in advice["layers"] if layer["layer"] not in stood]
    assert stood
    torch.onnx.export(netz.trained().eval(), (torch.rand(2, 3, 8, 8),), path, verbose=False)
    named = run("export", study, "--to", "aimet", "--max-drop", 90)
    values = json.loads(named.out)
    assert values["damage"] == "quantise:clip=mse" and values["param_bitwidths"] == stood
    ran = run("export", study, "--to", "onnxruntime", "--onnx", path, "--max-drop", 90)
    assert list(json.loads(ran.out)["layer_of"].values()) == rest
    run("export", study, "--to", "nncf", "--damage", "filters").refused("got advice of filters")
    run("export", study, "--to", "csv", "--damage", "quantise:clip=mse").refused("such as nncf")
    run("export", study, "--to", "nncf", "--macs", "50%").refused("no budget for nncf")
    run("export", study, "--to", "csv", "--bits", 8).refused("a tool that quantises for --bits")
    run("export", study, "--to", "onnxruntime").refused("(--onnx, --network)")


def test_what_layers_read_takes_training_images(home, run, tmp_path):
    train = tmp_path / "train"
    for file in (home.folder / "val").rglob("*.png"):
        target = train / file.parent.name / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - np.asarray(Image.open(file))).save(target)
    out, few = tmp_path / "a.lesion", ("--full", "--images", 20, "--damage", "noise,activations")
    subject = (*home.subject, "-o", out)
    run("sweep", *subject, "--damage", "activations").refused("--train DATA")
    assert run("sweep", *subject, *few, "--train", f"imagefolder:{train}").code == 0
    rows = json.loads(run("curves", out, "--format", "json").out)
    saved = {
        row["amount"]: row["bops_saved"]
        for row in rows
        if row["damage"] == "activations" and row["layer"] == "mitte" and not row["reason"]
    }
    assert saved == pytest.approx({bits: 100 * (1 - bits / 32) for bits in (8, 6, 4, 3, 2)})
    text = run("recommend", out, "--damage", "activations", "--max-drop", 90).out
    assert "bits of its inputs" in text or "safe down to" in text
    assert run("sweep", *subject, *few).code == 0  # it goes on with the ranges that it knows
    other = ("--train", f"imagefolder:{home.folder}/val")
    run("sweep", *subject, *few, *other).refused("knows of damage activations")


def test_bytes_are_shared_among_damages(home, run, tmp_path):
    study, rates, small = (tmp_path / name for name in ("a.lesion", "r.json", "s.safetensors"))
    few = ("--full", "--holdout", 0.5, "--damage", "filters,quantise", "-o", study)
    assert run("sweep", *home.subject, *few).code == 0
    least = ("--bytes", "least", "--max-drop", 50, "--damage", "quantise")
    ran = run("recommend", study, *least, "-o", rates)
    assert ran.code == 0 and "stored bytes: " in ran.out and "Weights (" in ran.out
    verified = run("verify", study, "--rates", rates, "--max-drop", 95)
    assert "layers changed" in verified.out and "all quantise, " in verified.out
    assert run("apply", study, "--rates", rates, "-o", small).code == 0 and small.exists()
    run("export", study, "--rates", rates, "--to", "nni").refused("--damage filters")
    run("recommend", study, "--bytes", "1%").refused("out of reach")
    alone = run("recommend", study, "--bytes", "60%", "--damage", "filters").out
    assert "stored bytes: " in alone and "Weights (" not in alone
    figures = run("plot", study, "-o", tmp_path / "figures").out
    assert "damages.png" in figures and "damage-map.png" in figures
