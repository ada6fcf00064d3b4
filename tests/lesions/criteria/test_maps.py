"""Criteria of maps as matrices and of their averages: published examples by hand."""

import math

import networks
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seen import shown
from torch import nn
from torch.nn import functional as F

from lesion.errors import LesionError
from lesion.lesions.criteria import chip, criterion
from lesion.lesions.criteria.entropy import Entropy
from lesion.sweeps.sweep import sweep


def test_the_entropy_of_a_histogram():
    """{0, 0, 1, 1} → ln 2, {0, 1, 1, 1} → 0.5623, constant → 0."""
    means = torch.tensor([[0.0, 0.0, 5.0], [0, 1, 5], [1, 1, 5], [1, 1, 5]])
    maps = torch.stack([means - 0.5, means + 0.5], 2)  # of two positions
    for batches in (1, 4):
        scores = shown(Entropy(bins=2), maps, batches=batches)
        assert scores.tolist() == pytest.approx([math.log(2), 0.5623, 0], abs=5e-5)


@given(st.integers(0, 10_000), st.floats(1e-3, 1e3), st.integers(2, 200))
def test_entropy_has_no_scale_and_a_bound(seed, factor, bins):
    values = torch.randn(30, 4, 2, generator=torch.Generator().manual_seed(seed)).double()
    scores = shown(Entropy(bins), values)
    assert scores.max() <= math.log(min(30, bins)) + 1e-9
    stretched = shown(Entropy(bins), values * 2 ** round(math.log2(factor)))  # exact in binary
    assert stretched.tolist() == scores.tolist()


def test_the_number_of_bins_is_in_the_name():
    assert (Entropy().name, Entropy(50).name) == ("entropy", "entropy:bins=50")


def test_the_rank_of_a_map():
    maps = torch.tensor([[[1.0, 2.0], [2.0, 4.0]], [[1, 0], [0, 1]], [[0, 0], [0, 0]]])
    seen = torch.stack([maps, maps[[1, 1, 2]]])
    assert shown(criterion("hrank"), maps[None]).tolist() == [1, 2, 0]
    assert shown(criterion("hrank"), seen, batches=2).tolist() == [1.5, 2, 0]


def test_a_rank_is_that_of_32_bits():
    """What is lost in the precision of the maps is no rank, even if 64 bits tell it apart."""
    line = torch.tensor([[1.0, 2.0], [2.0, 4.0 * (1 + 1e-7)]], dtype=torch.double)
    plain = torch.tensor([[1.0, 2.0], [2.0, 4.01]], dtype=torch.double)
    assert shown(criterion("hrank"), torch.stack([line, plain])[None]).tolist() == [1, 2]


class Both(nn.Module):
    """A convolution and linear layers, with ReLU behind each."""

    def __init__(self):
        super().__init__()
        self.conv, self.up = nn.Conv2d(1, 4, 3), nn.ConvTranspose2d(4, 5, 2)
        self.fc, self.out = nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, x):
        x = F.relu(self.up(F.relu(self.conv(x))))
        return self.out(F.relu(self.fc(x.mean((2, 3)))))


def test_what_is_no_map_has_no_rank(tmp_path):
    torch.manual_seed(0)
    data = networks.random_images(20, 1, 6, 6, classes=3)
    train = networks.random_images(20, 1, 6, 6, classes=3, seed=1)
    network = networks.spread(Both(), data.tensors[0])
    with sweep(
        network, data, tmp_path / "s", criterion="hrank", train=train, ratios=(0.5,), full=True
    ) as study:
        reasons = {skip.target: skip.reason for skip in study.skipped}
        assert {lesion.target for lesion in study.lesions} == {"conv", "up"}
    assert reasons["fc"] == "what it gives are no maps of height and width"
    with pytest.raises(LesionError, match=r"^what it gives are no maps of height and width$"):
        shown(criterion("hrank"), torch.ones(2, 3, 4))


def test_a_row_that_another_repeats_goes_first():
    """Rows (2, 0), (2, 0), (0, 1): a duplicate goes, though its norm is twice the third's."""
    rows = torch.tensor([[[2.0, 0.0], [2.0, 0.0], [0.0, 1.0]]])
    scores = shown(criterion("chip"), rows)
    assert scores.tolist() == pytest.approx([0.8284, 0.8284, 1.0], abs=5e-5)
    assert shown(criterion("mean_l2"), rows).argmin() == 2


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (9, 9), (12, 1), (1, 5)])
@pytest.mark.parametrize("rank", [1, 3, 40])
@given(seed=st.integers(0, 10_000))
def test_the_independence_is_that_of_singular_values(shape, rank, seed):
    """Whatever the rank, and with dead rows, to 10⁻⁶ of the nuclear norm."""
    numbers = torch.Generator().manual_seed(seed)
    left = torch.randn(shape[0], rank, generator=numbers)
    right = torch.randn(rank, shape[1], generator=numbers)
    matrix = torch.relu(left.double() @ right.double())
    matrix[::4] = 0
    whole = torch.linalg.svdvals(matrix).sum()
    wanted = []
    for row in range(len(matrix)):
        without = matrix.clone()
        without[row] = 0
        wanted.append(float(whole - torch.linalg.svdvals(without).sum()))
    scores = shown(criterion("chip"), matrix[None])
    assert scores.tolist() == pytest.approx(wanted, rel=1e-6, abs=1e-6 * float(whole) + 1e-12)


def test_large_matrices_are_taken_apart_in_parts(monkeypatch):
    values = torch.rand(2, 7, 5, generator=torch.Generator().manual_seed(0))
    whole = shown(criterion("chip"), values)
    monkeypatch.setattr(chip, "ROOM", 60)
    assert shown(criterion("chip"), values).tolist() == pytest.approx(whole.tolist(), rel=1e-12)
