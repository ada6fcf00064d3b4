"""Bad input gets one sentence and exit status 1, and what was measured before stays as it was."""

import os
import pickle
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import torch

from cli import netz
from lesion.study import database
from lesion.study.study import Study


@pytest.fixture
def refused(run, swept, tmp_path):
    """Sweeps into a study that exists and into a new one: neither is touched."""

    def check(*arguments, texts):
        before, fresh = swept.read_bytes(), tmp_path / "fresh.lesion"
        for out in (swept, fresh):
            run("sweep", "--ratios", "0.5", *arguments, "-o", out).refused(*texts)
        assert swept.read_bytes() == before and not fresh.exists()

    return check


@pytest.mark.parametrize(
    ("network", "texts"),
    [
        ("netz", ["Expected the network as demo:resnet20", "FILE.py:FACTORY", "got 'netz'"]),
        ("nowhere.py:Netz", ["Expected a Python file at", "nowhere.py, found none"]),
        (
            "torchvision:resnet18",
            ["Expected weights for torchvision:resnet18", "--weights default"],
        ),
        ("torchvision:resnet", ["resnet"]),
        ("demo:resnet99", ["Expected demo:resnet20 or demo:resnet56, got demo:resnet99"]),
        ("nowhere:x", ["Expected the network as demo:resnet20", "got 'nowhere:x', but nowhere"]),
        ("hf:x", ["Expected weights for hf:x, which is only a name", "--weights random"]),
        (
            "lesion.nowhere:x",
            ["but lesion.nowhere raised ModuleNotFoundError", "check the name before"],
        ),
        ("..x:y", ["Expected a Python module that can be imported, but ..x raised"]),
    ],
)
def test_network(home, run, tmp_path, network, texts):
    weights = ("--weights", "random") if network == "torchvision:resnet" else ()
    arguments = ("--network", network, "--data", f"imagefolder:{home.folder}/val", *weights)
    run("layers", *arguments).refused(*texts)


def test_weights_missing(home, refused):
    texts = ["Expected a file of weights at", "nowhere.pt, found none; check the path."]
    refused(*home.with_(weights="nowhere.pt"), texts=texts)


@pytest.mark.parametrize("name", ["garbage.pt", "garbage.safetensors"])
def test_weights_unreadable(home, refused, name):
    (home.folder / name).write_bytes(os.urandom(200))
    refused(*home.with_(weights=name), texts=[name, "cannot be read as", "may be damaged"])


def test_weights_of_another_network(home, refused):
    state = netz.trained().state_dict()
    state["kopf.weight"], state["mehr"] = torch.zeros(4, 6), torch.zeros(1)
    del state["mitte.weight"]
    torch.save(state, home.folder / "other.pt")
    texts = ["missing 'mitte.weight'", "unexpected 'mehr'", "'kopf.weight' is (4, 6) instead of"]
    refused(*home.with_(weights="other.pt"), texts=texts)


class Payload:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_weights_that_would_run_code_do_not(home, refused, tmp_path):
    planted = tmp_path / "planted"
    with open(home.folder / "code.pt", "wb") as file:
        torch.save({"state_dict": Payload(planted)}, file)
    with open(home.folder / "code.pkl", "wb") as file:
        pickle.dump(Payload(planted), file)
    refused(*home.with_(weights="code.pt"), texts=["Expected plain weights", "can run code"])
    refused(*home.with_(weights="code.pkl"), texts=["Expected weights saved by torch.save"])
    assert not planted.exists()
    pickle.loads(pickle.dumps(Payload(planted))).close()
    assert planted.exists()  # the payload would have worked


def test_nan_in_weights(home, refused):
    state = netz.trained().state_dict()
    state["mitte.weight"][0, 0] = float("nan")
    torch.save(state, home.folder / "nan.pt")
    texts = ["Expected finite weights", "1 of 48 values of 'mitte.weight'"]
    refused(*home.with_(weights="nan.pt"), texts=texts)


def test_nan_in_outputs(home, refused):
    refused(*home.with_("NotFinite", weights=None), texts=["Expected finite outputs, got NaN"])


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        (["--ratios", "0.5,1"], ["pruning ratios between 0 and 1, got 1"]),
        (["--ratios", "-0.1"], ["pruning ratios between 0 and 1, got -0.1"]),
        (["--ratios", "nan"], ["pruning ratios between 0 and 1, got nan"]),
        (["--ratios", "50"], ["pruning ratios between 0 and 1, got 50"]),
        (["--ratios", "150%"], ["pruning ratios between 0 and 1, got 1.5"]),
        (["--ratios", "half"], ["Expected numbers with commas", "--amounts, got 'half'"]),
        (["--ratios", ""], ["Expected numbers with commas", "--amounts, got ''"]),
        (
            ["--criterion", "l3"],
            ["Expected a criterion (apoz, bn_scale, chip,", "got 'l3'; choose one of them"],
        ),
        (["--layers", "einganng"], ["got 'einganng'; did you mean eingang?"]),
        (["--layers", "rumpf*"], ["got 'rumpf*'; lesion layers lists them"]),
        (["--images", "0"], ["at least one image, got 0"]),
        (["--max-drop", "0"], ["tolerance in points", "got 0"]),
        (["--max-drop", "1e-20"], ["a tolerance of at least 1e-09 points", "got 1e-20; allow"]),
        (["--max-drop", "5e-324"], ["a tolerance of at least 1e-09 points", "allow a larger"]),
        (["--confidence", "100"], ["confidence in per cent", "got 100"]),
        (["--half-width", "0"], ["Expected a half-width above 0 points, such as 0.5, got 0"]),
        (["--full", "--half-width", "1"], ["either a half-width or a full sweep, got both"]),
        (["--time-limit", "soon"], ["Expected a time such as 90s, 5min or 2h", "got 'soon'"]),
        (["--time-limit", "0"], ["Expected a time such as 90s, 5min or 2h, above 0", "got '0'"]),
        (["--time-limit", "0.0min"], ["above 0", "got '0.0min'"]),
        (["--seed", "9223372036854775808"], ["a seed from 0 to 9223372036854775807, got 9223"]),
        (["--seed", "18446744073709551616"], ["Expected a seed from 0 to", "got 18446744073709"]),
        (["--score", "hf:x"], ["Expected FILE.py:NAME or PACKAGE.MODULE:NAME, got 'hf:x'"]),
        (["--recover", "hf:x"], ["No module named 'hf'; check the name before the colon"]),
        (["--std", "inf", "--mean", "0"], ["Expected finite values above 0 in std, got (inf,)"]),
        (["--std", "1", "--mean", "nan"], ["Expected finite values in mean, got (nan,)"]),
        (["--score", "top3"], ["top3"]),
        (["--holdout", "1"], ["from 0 to below 1, got 1"]),
        (["--memory", "0"], ["Expected an amount of memory such as 800M or 4G, got '0'"]),
        (["--memory", "abc"], ["Expected an amount of memory such as 800M or 4G, got 'abc'"]),
        (["--memory", ""], ["Expected an amount of memory such as 800M or 4G, got ''"]),
        (["--device", "gpu"], ["Expected a device that torch can use here, got 'gpu'"]),
        (["--device", "meta"], ["Expected a device that torch can use here, got 'meta'"]),
        (["--mean", "0.5,x", "--std", "1,1"], ["Expected numbers", "--mean, got '0.5,x'"]),
        (["--mean", "0.5"], ["as many values in mean as in std, got 1 and 0"]),
        (["--classes", "3"], ["number of classes for named networks only"]),
    ],
)
def test_choices(home, refused, options, texts):
    refused(*home.subject, *options, texts=texts)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_where_there_is_none(home, refused):
    texts = ["Expected a device that torch can use here, got 'cuda'"]
    refused(*home.subject, "--device", "cuda", texts=texts)


@pytest.mark.parametrize("options", [["--units", "some"], ["--images", "x"], ["--seed", "-1"], []])
def test_usage_is_told_with_exit_status_2(home, run, options):
    ran = run("sweep", *home.subject, *options)
    assert ran.code == 2 and "Usage: lesion sweep" in ran.err and "Traceback" not in ran.err


def test_data(home, refused, tmp_path):
    (tmp_path / "flat").mkdir()
    (tmp_path / "hollow" / "blau").mkdir(parents=True)
    cases = {
        f"imagefolder:{tmp_path}/nowhere": ["Expected a folder of images at", "found none"],
        f"imagefolder:{tmp_path}/flat": ["Expected one folder a class in", "found none"],
        f"imagefolder:{tmp_path}/hollow": ["Expected images (", "found none"],
        f"npz:{tmp_path}/nowhere.npz": ["Expected an npz file at", "found none"],
        home.factory("Empty"): ["Expected at least one image, got an empty Empty"],
        home.factory("Unlabelled"): ["Expected batches with labels", "give labelled data"],
        home.factory("Augmented"): ["the same at every read", "take the random augmentation out"],
        home.factory("Nowhere"): ["Expected a function 'Nowhere' in", "found"],
    }
    for data, texts in cases.items():
        refused(*home.with_(data=data), texts=texts)


def npz(path: Path, images, labels) -> str:
    np.savez(path, images=images, labels=labels)
    return f"npz:{path}"


def test_labels_outside_the_outputs(home, refused, run, tmp_path):
    images = np.zeros((20, 8, 8, 3), np.uint8)
    texts = ["Expected labels from 0 to 2", "got 3"]
    refused(*home.with_(data=npz(tmp_path / "e.npz", images, np.full(20, 3))), texts=texts)
    late = np.zeros(20, int)
    late[2:] = 7  # not among the two images that a network is tried on
    out = tmp_path / "late.lesion"
    data = npz(tmp_path / "late.npz", images, late)
    run("sweep", *home.with_(data=data), "-o", out).refused("from 0 to 2", "got 7")


def test_images_that_the_network_does_not_take(home, refused, tmp_path):
    data = npz(tmp_path / "grey.npz", np.zeros((20, 8, 8), np.uint8), np.zeros(20, int))
    texts = ["Expected data that the network takes", "(2, 1, 8, 8)", "check the size and channels"]
    refused(*home.with_(data=data), texts=texts)


def test_an_image_that_is_damaged(home, run, tmp_path):
    for place in range(10):
        target = tmp_path / "val" / ("blau", "gruen", "rot")[place % 3]
        target.mkdir(parents=True, exist_ok=True)
        source = sorted((home.folder / "val" / target.name).iterdir())[place]
        (target / source.name).write_bytes(source.read_bytes()[: None if place != 7 else 60])
    ran = run("sweep", *home.with_(data=f"imagefolder:{tmp_path}/val"), "-o", tmp_path / "s.lesion")
    ran.refused("Expected an image in", "mend the file or take it out", "gruen")


def test_images_that_change_while_measured(home, run, tmp_path):
    """Refused at the next run, when an image is not the one first read."""
    out = tmp_path / "s.lesion"
    subject = home.with_(data=home.factory("Drifting"))
    assert run("sweep", *subject, "-o", out, "--ratios", "0.5", "--full").code == 0
    ran = run("sweep", *subject, "-o", out, "--ratios", "0.5,0.25", "--full")
    ran.refused("Images change between reads", "image 0", "switch off random augmentation")


def test_a_study_of_another_subject(home, run, swept):
    before = swept.read_bytes()
    state = netz.trained().state_dict()
    state["mitte.weight"] *= 2
    torch.save(state, home.folder / "twice.pt")
    ran = run("sweep", *home.with_(weights="twice.pt"), "-o", swept)
    ran.refused("another came: weights (", "name a new study file")
    ran = run("sweep", *home.subject, "--resize", 8, "--seed", 1, "-o", swept)
    ran.refused("order (seed 0, 20 % kept back there, seed 1,", "preprocessing (")
    assert swept.read_bytes() == before


def damaged(path: Path) -> Path:
    content = bytearray(path.read_bytes())
    content[2000:-2000] = os.urandom(len(content) - 4000)
    path.write_bytes(content)
    return path


def foreign_text(path: Path) -> Path:
    path.write_text("not a study, but a long enough text to be looked at " * 100)
    return path


def foreign_database(path: Path) -> Path:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE header (content BLOB)")
    connection.close()
    return path


def cut_short(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:9000])
    return path


def hollow(path: Path) -> Path:
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (damaged, "is damaged"), (cut_short, "is damaged"), (foreign_text, "is something else"),
        (foreign_database, "is something else"), (hollow, "is something else"),
        (lambda path: path.unlink() or path, "there is no file"),
        (lambda path: path.parent, "there is no file"),
    ],
    ids=["damaged", "cut short", "text", "database", "hollow", "missing", "folder"],
)  # fmt: skip
def test_a_study_that_is_none(home, run, swept, tmp_path, study, spoil, text):
    spoiled = spoil(swept)
    for command in ("curves", "recommend"):
        run(command, spoiled).refused(text)
    run("plot", spoiled, "-o", tmp_path / "figures").refused(text)
    text = "Is a directory" if spoiled.is_dir() else text
    run("merge", study, spoiled, "-o", tmp_path / "merged.lesion").refused(text)
    assert not (tmp_path / "merged.lesion").exists() and not (tmp_path / "figures").exists()
    if spoiled.is_file():
        before = spoiled.read_bytes()
        run("sweep", *home.subject, "-o", spoiled).refused(text)
        assert spoiled.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["curves", "--confidence", "150"], ["confidence in per cent", "got 150"]),
        (["recommend", "--confidence", "10"], ["confidence in per cent", "got 10"]),
        (["recommend", "--max-drop", "-1"], ["tolerance in points", "got -1"]),
        (["recommend", "--max-drop", "nan"], ["tolerance in points", "got nan"]),
        (["recommend", "--criterion", "l3"], ["criteria that", "holds (l1), got l3"]),
        (["plot", "-o", "FIGURES", "--formats", "bmp"], ["formats among png, svg, pdf, got bmp"]),
        (["plot", "-o", "FIGURES", "--max-drop", "200"], ["tolerance in points", "got 200"]),
        (
            ["plot", "-o", "STUDY/figures"],
            ["Expected a file that can be written", "Not a directory"],
        ),
        (["merge", "-o", "STUDY"], ["exists: name another"]),
        (["merge", "-o", "FIGURES/new.lesion"], ["there is no folder", "FIGURES; make it"]),
        (["merge", "-o", "."], [". is a folder; name a file in it"]),
    ],
)
def test_reading_commands(run, swept, tmp_path, monkeypatch, arguments, texts):
    monkeypatch.chdir(tmp_path)
    before = swept.read_bytes()
    command, *options = (part.replace("STUDY", swept.name) for part in arguments)
    run(command, swept, *options).refused(*texts)
    assert swept.read_bytes() == before and not (tmp_path / "FIGURES").exists()


@pytest.mark.parametrize("name", [":memory:", "file:x", "file:x?mode=memory", "-x.lesion", "~"])
def test_names_that_mean_something_to_sqlite_are_files(home, run, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert run("sweep", *home.subject, f"-o{name}", "--ratios", "0.5", "--full").code == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert "eingang" in run("curves", "--", name).out


def test_a_drop_that_no_sample_shows_is_said_at_once(home, run, tmp_path):
    out, whole = tmp_path / "s.lesion", ("--estimand", "population", "--max-drop", "1e-6")
    ran = run("sweep", *home.subject, "-o", out, "--ratios", "0.5", *whole)
    assert ran.code == 0 and "it takes more than 1 000 000; allow a larger drop" in ran.err


@pytest.mark.parametrize("confidence", ["nan", "100", "-1", "inf"])
def test_a_confidence_of_interactions(home, run, swept, confidence):
    arguments = ("--max-drop", "50", "--confidence", confidence)
    run("interactions", swept, *home.subject, *arguments).refused("a confidence in per cent", "got")


@pytest.mark.parametrize("option", ["--resize", "--crop"])
def test_sides_that_would_fill_memory(home, run, tmp_path, option):
    ran = run("layers", *home.subject, option, 100_000)
    assert ran.code == 2 and "Traceback" not in ran.err


def test_devices_that_are_not_there(home, run, swept, tmp_path):
    text = "Expected a device that torch can use here, got 'gpu'"
    run("verify", swept, *home.subject, "--device", "gpu").refused(text)
    run("time", *home.subject, "-o", tmp_path / "t.json", "--device", "gpu").refused(text)


def test_a_place_where_nothing_can_be_written(home, run, swept, tmp_path):
    run("sweep", *home.subject, "-o", tmp_path).refused("is a folder; name a file in it")
    ran = run("sweep", *home.subject, "-o", tmp_path / "no" / "s.lesion")
    ran.refused("Expected a folder to write s.lesion to, but there is no folder")
    ran = run("demo", "-o", swept / "demo")
    ran.refused("Expected a file that can be written", "Not a directory")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(home, run, tmp_path):
    tmp_path.chmod(0o500)
    try:
        run("sweep", *home.subject, "-o", tmp_path / "s.lesion").refused("permi")
    finally:
        tmp_path.chmod(0o700)


def outcomes(path):
    with Study.open(path) as study:
        return {one.key: study.outcomes(one)["top1"].tolist() for one in study.lesions}


def test_a_full_disk_keeps_what_was_measured(home, run, tmp_path, monkeypatch):
    """SQLite is told that the file may not grow: it says what it says of a full disk."""
    out = tmp_path / "s.lesion"
    subject = home.with_(data=home.factory("Slow"))
    connect = database.connect

    def small(path, timeout):
        store = connect(path, timeout)
        store.rows(f"PRAGMA max_page_count = {pages}")
        return store

    assert run("sweep", *subject, "-o", out, "--ratios", "0.5", "--full", "--images", 128).code == 0
    with sqlite3.connect(out) as file:
        (pages,) = file.execute("PRAGMA page_count").fetchone()
    file.close()
    before = outcomes(out)
    with monkeypatch.context() as patched:
        patched.setattr(database, "connect", small)
        pages += 1
        ran = run("sweep", *subject, "-o", out, "--ratios", "0.5,0.25,0.75", "--full")
    ran.refused(
        "the disk is full: what was recorded", "recorded before is kept", "run the same command"
    )
    after = outcomes(out)
    assert {key: after[key][:128] for key in before} == before
    again = run("sweep", *subject, "-o", out, "--ratios", "0.5,0.25,0.75", "--full")
    whole, ratios = tmp_path / "whole.lesion", ("--ratios", "0.25,0.5,0.75", "--full")
    assert again.code == 0 == run("sweep", *subject, "-o", whole, *ratios).code
    mended, once = (run("curves", path, "--format", "csv").out for path in (out, whole))
    assert mended == once


@pytest.mark.parametrize(
    "command, more",
    [
        ("recommend", []), ("verify", ["SUBJECT"]), ("refine", ["SUBJECT", "--macs", "80%"]),
        ("export", ["--to", "json"]), ("apply", ["SUBJECT"]), ("time", ["SUBJECT"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "out, text",
    [
        ("no/such", "there is no folder"), (".", "is a folder; name a file in it"),
        ("study.lesion", "study.lesion is "),
    ],
)  # fmt: skip
def test_an_output_is_refused_before_the_work(
    home, run, swept, tmp_path, monkeypatch, command, more, out, text
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "lesion.zoo.forms.open_network", None
    )  # so that whatever opens the network fails
    before = swept.read_bytes()
    options = [own for one in more for own in (home.subject if one == "SUBJECT" else [one])]
    given = [] if command == "time" else [swept]
    run(command, *given, *options, "-o", out).refused(text)
    assert swept.read_bytes() == before and os.listdir(tmp_path) == ["study.lesion"]


@pytest.mark.parametrize("command", ["interactions", "tradeoff"])
@pytest.mark.parametrize(
    "more, text",
    [(["-o", "study.lesion/x"], "Not a directory"), (["-o", "x", "--formats", "gif"], "got gif")],
)
def test_figures_are_refused_before_the_work(
    home, run, swept, tmp_path, monkeypatch, command, more, text
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lesion.zoo.forms.open_network", None)
    run(command, swept, *home.subject, *more).refused(text)
    assert os.listdir(tmp_path) == ["study.lesion"]
