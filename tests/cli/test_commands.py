"""Each command on a private network: what it prints, what it writes, and that it can be read."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from torch.utils.data import Subset

import lesion
from cli.netz import IMAGES
from lesion import zoo
from lesion.cli import sweep as commands
from lesion.lesions import criteria
from lesion.reports.plots.save import FORMATS
from lesion.sweeps.choices import Choices

SCORED = IMAGES - IMAGES // 5


def table(text):
    return pd.read_csv(io.StringIO(text), keep_default_na=False)


def test_layers_as_a_table_names_every_layer_and_why_one_is_tied(home, run):
    ran = run("layers", *home.subject)
    assert ran.code == 0 and ran.err == ""
    lines = ran.out.splitlines()
    assert lines[0].split() == [
        "layer", "number", "stage", "block", "in", "stage", "kind", "channels", "unit", "status",
        "MACs", "params",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[1:6]] == [
        "eingang", "mitte", "zweig.rein", "zweig.raus", "kopf",
    ]  # fmt: skip
    assert "5 layers in 4 units: 2 free, 1 coupled, 1 tied" in lines
    assert lines[-1] == "  kopf: its channels are the network's outputs"
    macs = 64 * (3 * 8 + 8 * 6 + 3 * 4 + 4 * 6) + 18
    assert any(line.startswith(f"{macs:,} MACs an image".replace(",", " ")) for line in lines)


@pytest.mark.parametrize("format", ["csv", "json"])
def test_layers_for_programs_is_nothing_but_the_table(home, run, format):
    ran = run("layers", *home.subject, "--format", format)
    found = table(ran.out) if format == "csv" else pd.DataFrame(json.loads(ran.out))
    assert list(found["layer"]) == ["eingang", "mitte", "zweig.rein", "zweig.raus", "kopf"]
    assert list(found["macs"]) == [64 * 24, 64 * 48, 64 * 12, 64 * 24, 18]


def test_sweep_says_what_it_does_and_what_comes_next(home, run, tmp_path):
    out = tmp_path / "s.lesion"
    ran = run("sweep", *home.subject, "-o", out, "--ratios", "0.5,0.75", "--resize", "8", "--full")
    assert ran.code == 0
    assert re.sub(r"\d+ at a time", "all at once", ran.out).splitlines() == [
        "preprocessing: resize 8 bilinear, scale to [0, 1]",
        f"4 lesions on {SCORED} images, all at once; {IMAGES // 5} more are kept back",
        f"the intact network: 100.00 % top-1 on {SCORED} images",
        f"study: {out}",
        f"next: lesion recommend {out}",
    ]
    assert "100%" in ran.err and "warning" not in ran.err


def test_the_planted_answer_comes_out(swept, run):
    """At 0.5 only idle filters fall; at 0.75 blue's falls too, and every blue image is wrong."""
    with lesion.Study.open(swept) as study:
        blue = float((study.intact().label == 0).mean())
    found = table(run("curves", swept, "--format", "csv").out)
    found = found[found["reason"] == ""].astype({"amount": float, "drop": float})
    drops = found.set_index(["layer", "amount"])["drop"]
    assert drops.to_dict() == pytest.approx(
        {
            ("eingang", 0.5): 0, ("eingang", 0.75): 100 * blue,
            ("zweig.rein", 0.5): 0, ("zweig.rein", 0.75): 0,
        }
    )  # fmt: skip


def test_csv_and_json_of_the_curves_are_the_table_of_the_library(swept, run):
    with lesion.Study.open(swept) as study:
        expected = lesion.curves(study)
    as_csv, as_json = (run("curves", swept, "--format", name) for name in ("csv", "json"))
    assert as_csv.err == as_json.err == ""
    read = pd.read_csv(io.StringIO(as_csv.out), keep_default_na=False, na_values={"drop": [""]})
    rows = pd.DataFrame(json.loads(as_json.out))
    for found in (read, rows):
        assert list(found.columns) == list(expected.columns)
        assert list(found["layer"]) == list(expected["layer"])
        assert list(found["reason"]) == list(expected["reason"])
        assert found["drop"].astype(float).tolist() == pytest.approx(
            expected["drop"].tolist(), nan_ok=True
        )


def test_curves_as_a_table_keep_rows_without_numbers_apart(swept, run):
    lines = run("curves", swept).out.splitlines()
    assert lines[0].split()[-4:] == ["accuracy", "drop", "low", "high"]
    assert lines[1].startswith("eingang") and "4/8" in lines[1]
    below = lines[lines.index("without numbers:") :]
    assert any(
        line.startswith("  mitte, zweig.raus: falls together with 1 other") for line in below
    )
    assert lines[-1] == f"the intact network: 100.00 % top-1 on {SCORED} images"


def test_curves_say_why_a_sweep_that_is_done_has_not_measured_a_ratio(home, run, tmp_path):
    out, ratios = tmp_path / "s.lesion", ("--ratios", "0.25,0.375,0.5", "--layers", "eingang")
    assert run("sweep", *home.subject, "-o", out, *ratios, "--max-drop", "60").code == 0
    lines = run("curves", out).out.splitlines()
    below = lines[lines.index("without numbers:") + 1]
    assert below == (
        "  eingang: not measured yet; no verdict needed it (--full measures all), or the sweep "
        "ended before"
    )


def test_a_wider_confidence_gives_wider_intervals(swept, run):
    low, high = (
        table(run("curves", swept, "--format", "csv", "--confidence", level).out)
        for level in (80, 99)
    )
    width = [
        frame[frame.reason == ""].astype({"high": float, "low": float}) for frame in (low, high)
    ]
    assert ((width[1].high - width[1].low) > (width[0].high - width[0].low)).all()


def test_sweep_again_measures_nothing_new(home, swept, run):
    before = swept.read_bytes()
    ran = run("sweep", *home.subject, "-o", swept, "--ratios", "0.5,0.75", "--full")
    assert ran.code == 0 and "nothing new to measure" in ran.err
    assert swept.read_bytes() == before


def test_a_sweep_that_decides_uses_what_was_measured(home, swept, run):
    command = ("sweep", *home.subject, "-o", swept, "--ratios", "0.5,0.75", "--max-drop", 8)
    for _ in range(2):
        ran = run(*command)
        assert ran.code == 0 and "nothing new to measure" in ran.err
    before = swept.read_bytes()
    assert run(*command).code == 0 and swept.read_bytes() == before
    assert "a drop of at most 8 points" in run("recommend", swept).out


def test_more_ratios_keep_what_was_measured(home, swept, run):
    with lesion.Study.open(swept) as study:
        before = {one.key: study.outcomes(one)["top1"].tolist() for one in study.lesions}
    assert run("sweep", *home.subject, "-o", swept, "--ratios", "0.25", "--full").code == 0
    with lesion.Study.open(swept) as study:
        after = {one.key: study.outcomes(one)["top1"].tolist() for one in study.lesions}
        assert all(study.seen(one).all() for one in study.lesions) and study.images == SCORED
    assert len(after) == len(before) + 2
    assert {key: after[key] for key in before} == before


def test_sweep_of_some_layers_ratios_and_images(home, run, tmp_path):
    out = tmp_path / "s.lesion"
    ran = run(
        "sweep", *home.subject, "-o", out, "--layers", "zweig.r*, eingang", "--ratios", "0.5",
        "--units", "all", "--images", 10, "--criterion", "l2", "--seed", 3, "--holdout", 0,
        "--memory", "100M", "--device", "cpu", "--workers", 0, "--rounding", "nearest",
        "--full",
    )  # fmt: skip
    assert ran.code == 0 and f"on 10 of {IMAGES} images" in ran.out
    with lesion.Study.open(out) as study:
        assert {(one.target, one.kind) for one in study.lesions} == {
            ("eingang", "free"), ("zweig.rein", "free"), ("zweig.raus", "branch"),
            ("mitte", "coupled"),
        }  # fmt: skip
        assert {one.criterion for one in study.lesions} == {"l2"}
        assert {one.rounding for one in study.lesions} == {"nearest"}
        assert {len(study.outcomes(one)) for one in study.lesions} == {10} == {study.images}


def test_sweep_of_what_cannot_be_cut_says_so(home, run, tmp_path):
    out = tmp_path / "s.lesion"
    ran = run("sweep", *home.subject, "-o", out, "--layers", "kopf")
    ran.refused("layer that can be cut", "its channels are the network's outputs", "other layers")
    ran = run("curves", out)
    assert "  kopf: its channels are the network's outputs" in ran.out.splitlines()
    run("recommend", out).refused("Expected measured lesions in", "lesion curves says")


def test_a_network_no_better_than_guessing_is_doubted(home, run, tmp_path):
    """Labels in another order than in training, as class folders easily give them."""
    out = tmp_path / "s.lesion"
    for place, name in enumerate(("blau", "gruen", "rot")):
        (tmp_path / "val").mkdir(exist_ok=True)
        (tmp_path / "val" / f"{(place + 1) % 3}-{name}").symlink_to(home.folder / "val" / name)
    subject = home.with_(data=f"imagefolder:{tmp_path}/val")
    ran = run("sweep", *subject, "-o", out, "--ratios", "0.5", "--full")
    assert ran.code == 0
    assert f"right on 0.0 % of {SCORED} images, hardly more than by chance (33.3 %)" in ran.err


def test_recommend_in_words_json_and_csv(swept, run):
    words = run("recommend", swept, "--max-drop", 8)
    assert words.code == 0 and words.err == ""
    assert f"The intact network: 100.00 % top-1 on {SCORED} images" in words.out
    assert "  stage 1: 50 % in 2 of 2 layers\n" in words.out
    assert "  kopf: its channels are the network's outputs\n" in words.out
    assert "before retraining" in words.out.splitlines()[-1]
    advice = json.loads(run("recommend", swept, "--max-drop", 8, "--format", "json").out)
    assert advice["max_drop"] == 8 and advice["rates"] == {"eingang": 0.5, "zweig.rein": 0.75}
    rows = table(run("recommend", swept, "--max-drop", 8, "--format", "csv").out)
    assert dict(zip(rows["layer"], rows["rate"].astype(float), strict=True))["eingang"] == 0.5


def test_what_fails_at_its_lowest_ratio_is_on_the_skip_list(home, run, tmp_path):
    out = tmp_path / "s.lesion"
    assert run("sweep", *home.subject, "-o", out, "--ratios", "0.75", "--full").code == 0
    lines = run("recommend", out, "--max-drop", 8).out.splitlines()
    assert "To skip (1 of 2 measured):" in lines
    (line,) = (line for line in lines if line.startswith("  1 eingang: "))
    assert "75 % of its filters cost 3" in line


def test_plot_writes_the_figures_it_names(swept, run, tmp_path):
    ran = run("plot", swept, "-o", tmp_path / "a" / "b", "--formats", "png, svg", "--max-drop", 8)
    assert ran.code == 0 and ran.err == ""
    paths = ran.out.splitlines()
    assert {path.rpartition("/")[2] for path in paths} == {
        f"{name}.{suffix}"
        for name in ("sensitivity", "drop", "heatmap", "norms", "rates")
        for suffix in ("png", "svg")
    }
    assert all(Path(path).read_bytes()[:4] in (b"\x89PNG", b"<?xm") for path in paths)


def test_plot_without_enough_for_advice_still_draws(swept, run, tmp_path):
    few = tmp_path / "few.lesion"
    with lesion.Study.open(swept) as study, lesion.Study.create(few, study.header) as begun:
        begun.add(study.lesions, study.skipped)
        three = {one: study.outcomes(one).take(slice(3)) for one in study.lesions}
        begun.record(three, study.intact())
        for name, norms in study.norms.items():
            begun.set_norms(name, norms)
    ran = run("plot", few, "-o", tmp_path / "figures", "--max-drop", 8)
    assert ran.code == 0
    assert ran.err.startswith("drawn without advice: Expected one layer at least to lose surely")
    assert f"but 3 of {SCORED} images settle none" in ran.err
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"sensitivity.png", "drop.png", "heatmap.png", "norms.png"}


def test_merge_of_two_halves_is_the_whole(home, run, swept, tmp_path):
    halves = [tmp_path / name for name in ("a.lesion", "b.lesion")]
    for out, layers in zip(halves, ("eingang", "mitte,zweig*,kopf"), strict=True):
        ratios = ("--ratios", "0.5,0.75", "--full")
        ran = run("sweep", *home.subject, "-o", out, *ratios, "--layers", layers)
        assert ran.code == 0
    whole = tmp_path / "whole.lesion"
    assert run("merge", *halves, "-o", whole).out == f"study: {whole}\n"
    merged, once = (run("curves", path, "--format", "csv").out for path in (whole, swept))
    assert merged == once


@pytest.fixture
def few(monkeypatch):
    """The demonstration on 250 images, with wide intervals."""
    opened = zoo.open_subject

    def smaller(*arguments, **options):
        subject = opened(*arguments, **options)
        dataset = Subset(subject.images.dataset, range(250))
        return replace(subject, images=replace(subject.images, dataset=dataset))

    monkeypatch.setattr(zoo, "open_subject", smaller)
    monkeypatch.setattr(commands, "SHOWN", 30.0)


def test_demo_goes_from_images_to_figures_and_goes_on(few, run, tmp_path):
    out = tmp_path / "there" / "demo"
    seen = []
    for max_drop in (20, 15):
        ran = run("demo", "--network", "demo:resnet20", "-o", out, "--max-drop", max_drop)
        assert ran.code == 0
        with lesion.Study.open(out / "study.lesion") as study:
            seen.append(sum(int(study.seen(one).sum()) for one in study.lesions))
            assert study.images == 75 and len(study.lesions) == 90
    assert seen[0] < seen[1] < 90 * 75
    assert "demo:resnet20 on the test images of Fashion-MNIST" in ran.out
    for text in ("The intact network: 9", "To skip (", "  stage 1: ", "  stage 3: "):
        assert text in ran.out
    assert "a drop of at most 15 points" in ran.out and "before retraining" in ran.out
    assert f"study: {out}/study.lesion" in ran.out and f"page: {out}/report.html" in ran.out
    assert "ankle boot" in (out / "report.html").read_text()
    assert "To skip" in run("recommend", out / "study.lesion", "--max-drop", "15").out
    assert run("verify", out / "study.lesion", "--macs", "90%", "--max-drop", "15").code == 0
    for name in ("sensitivity", "drop", "heatmap", "norms", "rates"):
        assert f"figure: {out}/{name}.png" in ran.out
        assert (out / f"{name}.png").read_bytes()[:4] == b"\x89PNG"


def test_version_and_help(run):
    assert run("--version").out == f"lesion {lesion.__version__}\n"
    shown = run("--help")
    assert shown.code == 0
    for command in ("layers", "sweep", "curves", "recommend", "plot", "merge", "demo"):
        assert f" {command} " in shown.out


def test_help_is_not_behind_the_library(run, monkeypatch):
    """The options are written without torch: what they list and their defaults must agree."""
    monkeypatch.setenv("COLUMNS", "300")
    shown = " ".join(run("sweep", "--help").out.split())
    for form in (zoo.NETWORK_FORMS + ", " + zoo.DATA_FORMS).replace(" or ", ", ").split(", "):
        assert form.strip() in shown
    assert all(name in shown for name in criteria.names())
    assert f"[default: ({Choices().holdout}, or the study's)]" in shown
    assert f"[default: {Choices().rounding}]" in shown and f"[default: {Choices().units}]" in shown
    shown = run("plot", "--help").out
    assert all(name in shown for name in FORMATS)
