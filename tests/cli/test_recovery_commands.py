"""Recovery as a user meets it: swept, judged, compared, drawn."""

import json

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from lesion.rates.allocation import Allocation

RECOVER = """
import torch

def mend(network, batches):
    with torch.no_grad():
        for images, labels in batches:
            network(images)

def stumble(network, batches):
    raise RuntimeError("out of luck\\nat line 2")
"""


@pytest.fixture
def training(home, tmp_path):
    """Images that are not scored, one folder a class, and functions that recover."""
    (tmp_path / "mine.py").write_text(RECOVER)
    for place, file in enumerate(sorted((home.folder / "val").glob("*/*.png"))):
        target = tmp_path / "train" / file.parent.name / f"{place}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        content = Image.open(file)
        content.putpixel((0, 0), (place, 9, 9))
        content.save(target)
    return tmp_path


def test_recovered_lesions_are_measured_judged_and_compared(run, home, swept, training):
    again = ("sweep", *home.subject, "-o", swept, "--ratios", "0.5,0.75", "--full")
    done = run(*again, "--recover", "bn", "--train", f"imagefolder:{training}/train")
    assert done.code == 0, done
    rows = json.loads(run("curves", swept, "--format", "json").out)
    measured = {(row["recovery"], row["images"]) for row in rows if row["amount"] is not None}
    assert measured == {("", 48), ("bn", 48)}
    assert "recovery" in run("curves", swept).out.splitlines()[0]
    advice = run("recommend", swept, "--max-drop", "90", "--after", "bn")
    assert "Every lesion recovers by bn before it is scored." in advice.out
    assert "where one layer is cut and bn follows" in advice.out
    plain = run("recommend", swept, "--max-drop", "90").out
    assert "recovers" not in plain and "as it is, loses at once" in plain
    found = run("compare", swept, "-o", training / "figures")
    assert found.code == 0 and "Spearman's rank correlation" in found.out
    assert found.out.splitlines()[-1] == str(training / "figures" / "recovery.png")
    assert (training / "figures" / "recovery.png").stat().st_size > 10_000
    cells = json.loads(run("compare", swept, "--ratio", "0.5", "--format", "json").out)
    assert {cell["amount"] for cell in cells} == {0.5}
    function = ("--recover", f"{training}/mine.py:mend")
    done = run(*again, *function, "--train", f"imagefolder:{training}/train")
    assert done.code == 0, done
    assert run("compare", swept, "--after", "mine:mend").code == 0


def test_rates_for_retraining(run, home, swept, training, tmp_path):
    """By lesions that recovered, and measured after it, beside one rate for all."""
    train = ("--train", f"imagefolder:{training}/train")
    again = ("sweep", *home.subject, "-o", swept, "--ratios", "0.5,0.75", "--full")
    run(*again, "--recover", "bn", *train)
    wanted = ("--macs", "60%", "--max-rate", "0.75", "--after", "bn")
    said = run("recommend", swept, *wanted)
    assert said.code == 0, said
    assert "each after recovery by bn" in said.out and "no rate above 75 %" in said.out
    out = tmp_path / "rates.json"
    refined = run("refine", swept, *home.subject, *wanted, "--recover", "bn", *train, "-o", out)
    assert refined.code == 0, refined
    assert "Measured together after recovery by bn on 48 images" in refined.out
    assert "Measured drop of all together" in refined.out
    assert Allocation.load(out).pruned.macs <= 0.6 * Allocation.load(out).intact.macs
    checked = ("--rates", out, "--max-drop", "90", "--recover", "bn", *train)
    assert "SAFE for 90 points" in run("verify", swept, *home.subject, *checked).out
    run("refine", swept, *home.subject, *wanted).refused(
        "Expected a recovery to measure rates after", "leave out --after"
    )
    run("recommend", swept, "--macs", "60%", "--after", "finetune:9").refused(
        "Expected lesions with recovery by finetune:9, but"
    )
    run("recommend", swept, "--macs", "60%", "--max-rate", "1.5").refused(
        "Expected a highest rate above 0 and up to 1, got 1.5"
    )


def test_apply_writes_the_weights_after_a_recovery(run, home, swept, training):
    """The smaller network has other weights than without it, and what is asked in vain is told."""
    rates = ("--macs", "63%", "--skip", "zweig*")
    train = ("--train", f"imagefolder:{training}/train")
    files = [training / name for name in ("plain.safetensors", "mended.safetensors")]
    for file, more in zip(files, ((), ("--recover", "fold", *train)), strict=True):
        done = run("apply", swept, *home.subject, *rates, "-o", file, *more)
        assert done.code == 0, done.err
    plain, mended = (load_file(file) for file in files)
    assert {name: value.shape for name, value in mended.items()} == {
        name: value.shape for name, value in plain.items()
    }
    assert any(not torch.equal(mended[name], plain[name]) for name in plain)
    masked, recover = training / "masked.safetensors", "finetune:8,lr=0.3,masks=agp,every=1"
    done = run("apply", swept, *home.subject, *rates, "-o", masked, "--recover", recover, *train)
    assert done.code == 0, done.err
    kept = {file: json.loads(safe_open(file, "pt").metadata()["allocation"])["rates"]
            for file in (files[0], masked)}  # fmt: skip
    first, last = ([len(rate["kept"]) for rate in some] for some in kept.values())
    assert first == last
    vain = run("apply", swept, *home.subject, *rates, "-o", training / "x.safetensors", *train)
    vain.refused("Expected a recovery for the training images, got none; give --recover")
    assert not (training / "x.safetensors").exists()


def test_what_cannot_recover_is_one_sentence(run, home, swept, training):
    again = ("sweep", *home.subject, "-o", swept, "--ratios", "0.5", "--full")
    train = ("--train", f"imagefolder:{training}/train")
    run(*again, "--recover", "bn").refused("Expected training images for recovery by bn, got none")
    run(*again, *train).refused("Expected a recovery for the training images, got none")
    run(*again, "--recover", "bm", *train).refused("Expected a recovery bias, fold", "'bm'")
    run(*again, "--recover", f"{training}/mine.py:stumble", *train).refused("out of luck)")
    scored = ("--train", f"imagefolder:{home.folder}/val")
    run(*again, "--recover", "finetune:3", *scored).refused("images that are not scored, but image")
    run("compare", swept).refused("both one-shot and with recovery by bn, got none")
    run("recommend", swept, "--after", "bn").refused("Expected lesions with recovery by bn, but")
