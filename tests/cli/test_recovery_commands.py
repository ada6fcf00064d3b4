"""Recovery as a user meets it: swept, judged, compared, drawn."""

import json

import pytest
from PIL import Image

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
    measured = {(row["recovery"], row["images"]) for row in rows if row["ratio"] is not None}
    assert measured == {("", 48), ("bn", 48)}
    assert "recovery" in run("curves", swept).out.splitlines()[0]
    advice = run("recommend", swept, "--max-drop", "90", "--recovery", "bn")
    assert "Every lesion recovers by bn before it is scored." in advice.out
    assert "recovers" not in run("recommend", swept, "--max-drop", "90").out
    found = run("compare", swept, "-o", training / "figures")
    assert found.code == 0 and "Spearman's rank correlation" in found.out
    assert found.out.splitlines()[-1] == str(training / "figures" / "recovery.png")
    assert (training / "figures" / "recovery.png").stat().st_size > 10_000
    cells = json.loads(run("compare", swept, "--ratio", "0.5", "--format", "json").out)
    assert {cell["ratio"] for cell in cells} == {0.5}
    function = ("--recover", f"{training}/mine.py:mend")
    done = run(*again, *function, "--train", f"imagefolder:{training}/train")
    assert done.code == 0, done
    assert run("compare", swept, "--recovery", "mine:mend").code == 0


def test_what_cannot_recover_is_one_sentence(run, home, swept, training):
    again = ("sweep", *home.subject, "-o", swept, "--ratios", "0.5", "--full")
    train = ("--train", f"imagefolder:{training}/train")
    run(*again, "--recover", "bn").refused("Expected training images for recovery by bn, got none")
    run(*again, *train).refused("Expected a recovery for the training images, got none")
    run(*again, "--recover", "bm", *train).refused("Expected a recovery bn, finetune:STEPS", "'bm'")
    run(*again, "--recover", f"{training}/mine.py:stumble", *train).refused("out of luck)")
    scored = ("--train", f"imagefolder:{home.folder}/val")
    run(*again, "--recover", "finetune:3", *scored).refused("images that are not scored, but image")
    run("compare", swept).refused("both one-shot and with recovery by bn, got none")
    run("recommend", swept, "--recovery", "bn").refused("Expected lesions with recovery by bn, but")
