"""`lesion criteria` on the command line: tables, files, and what it refuses."""

import csv
import io
import json

import pytest
import torch

from cli import netz

TRAIN = '''
import torch
from torch.utils.data import Dataset


class Train(Dataset):
    """Images of three colours, none of those in the folder."""

    def __len__(self):
        return 96

    def __getitem__(self, index):
        numbers = torch.Generator().manual_seed(1000 + index)
        image = 0.2 * torch.rand(3, 8, 8, generator=numbers)
        image[2 - index % 3] += 0.5
        return image, index % 3
'''


@pytest.fixture
def arguments(home, tmp_path):
    (tmp_path / "extra.py").write_text(TRAIN)
    return ("criteria", *home.subject, "--train", f"{tmp_path}/extra.py:Train")


def test_a_table_for_people(run, arguments):
    """Five of the eight filters of `eingang` lead nowhere, and are the smallest."""
    ran = run(*arguments, "--criteria", "l1,largest,apoz,bn_scale", "--images", 64)
    assert ran.code == 0, ran
    lines = ran.out.splitlines()
    assert lines[0].split()[:4] == ["criterion", "needs", "images", "layers"]
    rows = {line.split()[0]: line.split() for line in lines[1:6]}
    assert {*rows} == {"oracle:images=64", "l1", "largest", "apoz", "bn_scale"}
    assert float(rows["l1"][4]) == -float(rows["largest"][4]) > 0.5
    assert "without numbers:" in ran.out and "  bn_scale: 2 of 2 layers: " in ran.out
    unread = "1 of 2 layers: by oracle:images=64 its channels are all worth the same"
    assert f"  l1, largest: {unread}" in ran.out.replace(", apoz", "")  # `zweig` adds nothing
    assert "May a norm criterion be trusted?" in ran.out
    assert any(line.startswith("eingang") and line.endswith("yes") for line in lines)
    assert "oracle:images=64: 0." in ran.err and "l1: 0.0 s" in ran.err


def test_tables_for_programs(run, arguments):
    options = (*arguments, "--criteria", "l1,mean_l2", "--images", 64)
    ran = run(*options, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    assert [row["criterion"] for row in rows] == ["oracle:images=64", "l1", "mean_l2"]
    ran = run(*options, "--format", "json", "--layers", "eingang")
    found = json.loads(ran.out)
    assert (found["oracle"], found["images"]) == ("oracle:images=64", 64)
    assert [row["criterion"] for row in found["layers"]] == ["oracle:images=64", "l1", "mean_l2"]
    assert found["criteria"][0]["spearman"] is None and found["criteria"][1]["halves"] is None
    assert [row["layer"] for row in found["norms"]] == ["eingang"]
    by_csv = float(rows[1]["spearman"])
    assert by_csv <= 1 and found["criteria"][1]["spearman"] <= 1


def test_files_in_a_folder(run, arguments, tmp_path):
    out = tmp_path / "figures"
    ran = run(*arguments, "--criteria", "l1", "--images", 64, "-o", out, "--formats", "svg")
    assert ran.code == 0, ran
    names = {"criteria.svg", "criteria.csv", "layers.csv", "norms.csv"}
    assert {path.name for path in out.iterdir()} == names
    assert all(str(out / name) in ran.out for name in names)
    with (out / "layers.csv").open() as file:
        assert {row["layer"] for row in csv.DictReader(file)} == {"eingang", "zweig.rein"}


def test_without_training_images(run, home):
    run("criteria", *home.subject).refused(
        "Expected training images for criteria, got none; give them with train=… (--train DATA)"
    )


def test_training_images_that_are_scored(run, home):
    run("criteria", *home.subject, "--train", f"imagefolder:{home.folder}/val").refused(
        "Expected training images that are not scored"
    )


def test_criteria_and_formats_that_are_none(run, arguments, tmp_path):
    run(*arguments, "--criteria", "l1,mean").refused("Expected a criterion (", "got 'mean'")
    run(*arguments, "-o", tmp_path / "x", "--formats", "gif").refused("Expected formats among png")
    run(*arguments, "--confidence", 30).refused("Expected a confidence in per cent")


def test_a_sweep_by_the_oracle(run, home, arguments, tmp_path):
    """The filters that lead nowhere fall first, and nothing is lost."""
    out = tmp_path / "s.lesion"
    options = ("--criterion", "oracle:images=64", "--ratios", 0.6, "--full", "--layers", "eingang")
    ran = run("sweep", *arguments[1:], "-o", out, *options)
    assert ran.code == 0, ran
    rows = list(csv.DictReader(io.StringIO(run("curves", out, "--format", "csv").out)))
    assert [(row["criterion"], row["pruned"]) for row in rows] == [("oracle:images=64", "5")]
    assert float(rows[0]["drop"]) == 0
    run("sweep", *home.subject, "-o", tmp_path / "t.lesion", "--criterion", "oracle").refused(
        "Expected training images for criterion oracle, got none"
    )


def test_the_planted_filters_are_those(home):
    """What the tests above rest on."""
    network = netz.trained()
    assert network.mitte.weight[:, 3:].abs().max() == 0
    assert torch.equal(
        network.eingang.weight[:3].abs().sum((1, 2, 3)), torch.tensor([1.0, 1.5, 2.0])
    )
