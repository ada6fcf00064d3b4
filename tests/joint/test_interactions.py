"""Interactions of pairs of cuts, on networks whose answer is planted."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from lesion.errors import LesionError
from lesion.joint.bench import Bench
from lesion.joint.interactions import interactions
from lesion.rates.budget import Budget
from lesion.rates.recommend import recommend
from lesion.subject.subject import Subject
from lesion.sweeps.sweep import sweep


class Spare(nn.Module):
    """Class 1 needs one of "a" and "b", which stand in for each other; "c" is needed alone.

    The input's three numbers are the image; each branch passes its own on by its stronger filter,
    and its weaker one, which falls at 0.5, passes it on as well.
    """

    def __init__(self) -> None:
        super().__init__()
        for name in ("a", "b", "c"):
            conv = nn.Conv2d(1, 2, 1, bias=False)
            conv.weight.data = torch.tensor([2.0, 1.0]).reshape(2, 1, 1, 1)
            self.add_module(name, conv)
        self.fc = nn.Linear(6, 2, bias=False)
        weak = torch.tensor([0.0, 1.0])  # only what falls first counts
        self.fc.weight.data = torch.stack([torch.zeros(6), torch.cat([weak] * 3)])

    def forward(self, x):
        parts = [self.get_submodule(n)(x[:, i : i + 1]) for i, n in enumerate("abc")]
        y = self.fc(torch.cat(parts, 1).mean((2, 3)))
        return torch.stack([0.5 + 0 * y[:, 1], y[:, 1].clamp(max=1)], 1)


def images(count=300):
    """A third each: a and b say class 1; c says it alone; none does."""
    x = torch.zeros(count, 3, 1, 1)
    x[0::3, 0] = x[0::3, 1] = 1
    x[1::3, 2] = 1
    return TensorDataset(x, (x.sum((1, 2, 3)) > 0).long())


@pytest.fixture
def case(tmp_path):
    network, data = Spare(), images()
    study = sweep(network, data, tmp_path / "a", ratios=(0.5,), full=True, holdout=0)
    with study:
        pins = dict.fromkeys("abc", 0.5)
        cut = recommend(study, budget=Budget(macs=1.0, pins=pins))
        yield study, Bench.of(study, Subject.of(network, data)), cut


def test_the_planted_pair_stands_out(case):
    study, bench, cut = case
    found = interactions(study, bench, cut, images=300)
    table = found.table.set_index(["first", "second"])
    third = 100 / 3
    assert found.screened == 0
    assert table.loc[("a", "b"), "interaction"] == pytest.approx(third)
    assert table.loc[("a", "b"), "first_drop"] == table.loc[("a", "b"), "second_drop"] == 0
    assert table.loc[("a", "c"), "interaction"] == table.loc[("b", "c"), "interaction"] == 0
    assert found.table["first"][0] == "a" and found.table["second"][0] == "b"
    low, high = table.loc[("a", "b"), ["low", "high"]]
    half = 1.96 * np.sqrt(third * (100 - third) * 300 / 299) / np.sqrt(300)
    assert (low, high) == pytest.approx((third - half, third + half), rel=1e-3)
    matrix = found.matrix()
    assert matrix.loc["a", "b"] == matrix.loc["b", "a"] == pytest.approx(third)


def test_a_budget_of_pairs_goes_to_the_strongest_on_other_images(case):
    study, bench, cut = case
    found = interactions(study, bench, cut, pairs=1, images=120)
    assert found.screened == 3 and len(found.table) == 1
    row = found.table.iloc[0]
    assert (row["first"], row["second"], row["images"]) == ("a", "b", 120)
    assert row["interaction"] > 20


def test_one_cut_has_no_pairs(case):
    study, bench, _ = case
    alone = recommend(study, budget=Budget(macs=1.0, pins={"a": 0.5}, skip=("b", "c")))
    with pytest.raises(LesionError, match="Expected rates that cut two units at least, got 1"):
        interactions(study, bench, alone)
