"""Scores that need no labels and scores of one's own, as a user meets them."""

import numpy as np
import pytest
from PIL import Image

import lesion
from cli import netz

SCORES = """
import torch

def sure(outputs, targets):
    return outputs.softmax(1).amax(1)

def right(outputs, targets):
    return outputs.argmax(1) == targets

def blind(outputs, targets):
    assert targets is None
    return outputs.softmax(1).amax(1)

def beyond(outputs, targets):
    return sure(outputs, targets) + 1

def below(outputs, targets):
    return -sure(outputs, targets)

def single(outputs, targets):
    return sure(outputs, targets).mean()

def longer(outputs, targets):
    return torch.cat([sure(outputs, targets)] * 2)

def raising(outputs, targets):
    return outputs @ targets

def words(outputs, targets):
    return ["good"] * len(outputs)

def nothing(outputs, targets):
    pass

def blank(outputs, targets):
    return sure(outputs, targets) * float("nan")

def late(outputs, targets):
    if len(outputs) > 2:  # more images than the network is tried on
        raise ValueError("no such class.\\nsecond line")
    return sure(outputs, targets)

number = 5
"""


@pytest.fixture
def flat(home, tmp_path):
    """The images without class folders, some of them JPEG, and two files that are none."""
    folder = tmp_path / "flat"
    folder.mkdir()
    for place, file in enumerate(sorted((home.folder / "val").rglob("*.png"))):
        kind = (".png", ".jpg", ".JPEG")[place % 3]
        Image.open(file).save(folder / f"{file.stem}{kind}", quality=95)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(b"no image")
    return folder


@pytest.fixture
def npz(home, tmp_path):
    images = [np.asarray(Image.open(f)) for f in sorted((home.folder / "val").rglob("*.png"))]
    np.savez(tmp_path / "images.npz", images=np.stack(images))
    return tmp_path / "images.npz"


@pytest.fixture
def scores(tmp_path):
    (tmp_path / "scores.py").write_text(SCORES)
    return tmp_path / "scores.py"


def unlabelled(home, flat, npz):
    return {
        "folder": f"imagefolder:{flat}", "npz": f"npz:{npz}", "factory": home.factory("Unlabelled"),
    }  # fmt: skip


ALONE = ["folder", "npz", "factory"]


@pytest.mark.parametrize("score", ["agreement", "tv"])
@pytest.mark.parametrize("form", ALONE)
def test_images_without_labels_are_swept(home, run, flat, npz, tmp_path, form, score):
    """The planted network: at 0.5 nothing changes, at 0.75 every blue image is lost."""
    data, out = unlabelled(home, flat, npz)[form], tmp_path / "s.lesion"
    ran = run("sweep", *home.with_(data=data), "--score", score, "-o", out, "--ratios", "0.5,0.75",
              "--full", "--images", 40)  # fmt: skip
    assert ran.code == 0 and "Traceback" not in ran.err
    with lesion.Study.open(out) as study:
        assert study.images == 40 and study.header.settings["score"] == score
        assert study.header.columns == (("agreement",) if score == "agreement" else
                                        ("agreement", "tv"))  # fmt: skip
        assert (study.intact().label == -1).all()
        blue = float((study.intact().prediction == 0).mean())
        found = lesion.curves(study).query("layer == 'eingang'").set_index("amount")
    assert found.loc[0.5, "drop"] == pytest.approx(0, abs=1e-4)
    assert 0.2 < blue < 0.5
    if score == "agreement":
        assert found.loc[0.75, "drop"] == pytest.approx(100 * blue)
    assert found.loc[0.75, "drop"] > 5


@pytest.mark.parametrize("form", ALONE)
def test_images_without_labels_can_be_decided_on(home, run, flat, npz, tmp_path, form):
    data, out = unlabelled(home, flat, npz)[form], tmp_path / "s.lesion"
    ran = run("sweep", *home.with_(data=data), "--score", "agreement", "-o", out,
              "--ratios", "0.5,0.75", "--max-drop", 20)  # fmt: skip
    assert ran.code == 0
    ran = run("recommend", out)
    assert ran.code == 0 and "agreement with itself" in ran.out
    assert "75 % of its filters cost" in ran.out


@pytest.mark.parametrize(
    ("form", "texts"),
    [
        ("folder", ["Expected one folder a class in", "found images without one", "/CLASS/IMAGE"]),
        ("npz", ["Expected an array named 'labels' or 'y' in", "found images; rename it"]),
        ("factory", ["Expected batches with labels", "got float32 (2, 3, 8, 8)"]),
    ],
)
@pytest.mark.parametrize("score", [[], ["--score", "top5"]])
def test_scores_that_need_labels_say_which_does_not(
    home, run, flat, npz, tmp_path, form, texts, score
):
    data, out = unlabelled(home, flat, npz)[form], tmp_path / "s.lesion"
    ran = run("sweep", *home.with_(data=data), "-o", out, *score)
    ran.refused(*texts, "--score agreement")
    assert not out.exists()


def test_labels_are_no_hindrance_to_agreement(home, run, tmp_path):
    out = tmp_path / "s.lesion"
    run("sweep", *home.subject, "--score", "agreement", "-o", out, "--full")
    with lesion.Study.open(out) as study:
        assert study.header.columns == ("top1", "top5", "agreement", "loss", "margin")
        frames = [lesion.curves(study, name) for name in ("agreement", "top1")]
    assert frames[0]["drop"].tolist() == pytest.approx(frames[1]["drop"].tolist(), nan_ok=True)


def test_a_function_of_ones_own_is_a_score(home, run, scores, tmp_path):
    """`right` is top-1 by another name."""
    for name in ("right", "sure"):
        out = tmp_path / f"{name}.lesion"
        ran = run("sweep", *home.subject, "--score", f"{scores}:{name}", "-o", out, "--full",
                  "--ratios", "0.5,0.75")  # fmt: skip
        assert ran.code == 0, ran
        with lesion.Study.open(out) as study:
            assert study.header.settings["score"] == f"scores:{name}"
            assert study.header.columns == ("score",)
    with lesion.Study.open(tmp_path / "right.lesion") as study:
        found = lesion.curves(study).set_index(["layer", "amount"])["drop"]
        top1 = run("curves", out, "--format", "csv")
    assert top1.code == 0
    assert found["eingang", 0.5] == 0 and 25 < found["eingang", 0.75] < 42


def test_a_function_gets_none_where_there_are_no_labels(home, run, scores, flat, tmp_path):
    ran = run("sweep", *home.with_(data=f"imagefolder:{flat}"), "--score", f"{scores}:blind",
              "-o", tmp_path / "s.lesion", "--ratios", "0.5")  # fmt: skip
    assert ran.code == 0


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("beyond", ["Expected scores from 0 to 1, got 1.", "scale what the score function"]),
        ("below", ["Expected scores from 0 to 1, got -"]),
        ("single", ["Expected one score an image, 2 in all, got an array of shape ()"]),
        ("longer", ["Expected one score an image, 2 in all, got an array of shape (4,)"]),
        ("raising", ["takes outputs of shape (2, 3) and their targets (int64 (2,))",
                     "but it raised RuntimeError", "mend the function"]),
        ("words", ["Expected one score an image, 2 in all, got [str, str]"]),
        ("nothing", ["Expected one score an image, 2 in all, got NoneType"]),
        ("blank", ["Expected scores from 0 to 1, got nan"]),
        ("late", ["but it raised ValueError: no such class; mend the function"]),
        ("number", ["Expected the name of a score or a function score(outputs, targets), got 5"]),
        ("nowhere", ["Expected a function 'nowhere' in", "found sure, right, blind"]),
    ],
)  # fmt: skip
def test_a_wrong_function_is_told_in_a_sentence(home, run, scores, tmp_path, name, texts):
    out = tmp_path / "s.lesion"
    run("sweep", *home.subject, "--score", f"{scores}:{name}", "-o", out).refused(*texts)
    assert out.exists() == (name == "late")


@pytest.mark.parametrize(
    ("score", "texts"),
    [
        ("accuracy", ["Expected a score top1, top5, agreement or tv, or a function"]),
        ("nowhere.py:sure", ["Expected a Python file at", "nowhere.py, found none"]),
    ],
)
def test_an_unknown_score_is_told_in_a_sentence(home, run, tmp_path, score, texts):
    run("sweep", *home.subject, "--score", score, "-o", tmp_path / "s.lesion").refused(*texts)


def test_more_class_folders_than_outputs(home, run, tmp_path):
    for place, name in enumerate((*"abc", "d")):
        (tmp_path / "val" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8), (place, 0, 0)).save(tmp_path / "val" / name / "1.png")
    for score in ([], ["--score", "agreement"]):
        ran = run("sweep", *home.with_(data=f"imagefolder:{tmp_path}/val"), *score,
                  "-o", tmp_path / "s.lesion")  # fmt: skip
        ran.refused("Expected 3 classes in", "4", "--score agreement")
    assert not (tmp_path / "s.lesion").exists() and len(netz.trained().kopf.weight) == 3
