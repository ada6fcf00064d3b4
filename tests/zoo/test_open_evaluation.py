"""What `lesion evaluate` names: a network, a function of it, and images that show the layers."""

import pytest
import torch

from lesion import evaluate
from lesion.errors import SubjectError
from lesion.zoo import open_evaluation

FILE = """
import torch
from torch import nn

def make():
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 2, 3))

def images():
    return [torch.full((3, 8, 8), float(number)) for number in range(4)]

def one():
    return images()[:1]

def norm(network):
    return -float(network(torch.ones(1, 3, 8, 8)).detach().square().mean())
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "own.py").write_text(FILE)
    return tmp_path / "own.py"


def test_two_images_and_the_function_come_by_name(file, tmp_path):
    network, function, example = open_evaluation(
        f"{file}:make", None, f"{file}:images", f"{file}:norm"
    )
    assert torch.equal(example, torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)]))
    with evaluate(network, function, tmp_path / "s", example, ratios=(0.5,)) as study:
        assert study.header.subject["evaluation"] == "own:norm"
        assert study.evaluations[None] == function(network) and len(study.evaluations) == 2


def test_one_image_will_do(file):
    assert len(open_evaluation(f"{file}:make", None, f"{file}:one", f"{file}:norm")[2]) == 1


def test_a_function_that_is_not_there_is_told(file):
    with pytest.raises(SubjectError, match=r"Expected a function 'f1' in .*, found .*make"):
        open_evaluation(f"{file}:make", None, f"{file}:images", f"{file}:f1")
