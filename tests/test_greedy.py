"""Greedy selection leaves out the kernels of what is gone (Li et al. 2017, section 3.3)."""

import numpy as np
import pytest
import torch
from removal import forward
from torch import nn

from lesion.allocating import allocate
from lesion.budget import Budget
from lesion.dissect import dissect
from lesion.errors import LesionError
from lesion.greedy import greedy
from lesion.sweeping import sweep
from lesion.zoo.networks import CifarResNet


def swept(network, path, *shape):
    images = torch.randn(40, *shape)
    data = torch.utils.data.TensorDataset(images, torch.randint(0, 3, (40,)))
    study = sweep(network, data, path, ratios=(0.5,), full=True, holdout=0)
    return study, dissect(network, forward, images[:2])


def chain():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    ).eval()  # fmt: skip


def by_hand(network, order):
    """The filters that stay of each layer of a chain, by the loop of the paper."""
    kept, reads = {}, np.arange(3)
    for name in order:
        weight = network.get_submodule(name).weight.detach().double().numpy()
        norms = np.abs(weight[:, reads]).sum((1, 2, 3))
        reads = np.sort(np.argsort(norms, kind="stable")[len(norms) // 2 :])
        kept[name] = tuple(reads.tolist())
    return kept


def test_a_chain_is_the_loop_of_the_paper(tmp_path):
    network = chain()
    study, dissection = swept(network, tmp_path / "a", 3, 12, 12)
    with study:
        pins = dict.fromkeys(("0", "2", "4"), 0.5)
        independent = allocate(study, Budget(macs=1.0, pins=pins))
    found = greedy(dissection, independent)
    assert found.filters == by_hand(network, ("0", "2", "4"))
    assert found.filters != independent.filters
    assert found.filters["0"] == independent.filters["0"]
    assert [len(rate.kept) for rate in found.rates] == [
        len(rate.kept) for rate in independent.rates
    ]


def test_first_convolutions_beside_identities_are_the_same(tmp_path):
    torch.manual_seed(0)
    network = CifarResNet(8, 3).eval()
    study, dissection = swept(network, tmp_path / "a", 3, 16, 16)
    with study:
        independent = allocate(study, Budget(macs=1.0, pins={"layer*.conv1": 0.5}))
    assert greedy(dissection, independent) == independent


def test_it_needs_a_sum_over_kernels(tmp_path):
    network = chain()
    images = torch.randn(40, 3, 12, 12)
    data = torch.utils.data.TensorDataset(images, torch.randint(0, 3, (40,)))
    with sweep(network, data, tmp_path / "a", ratios=(0.5,), full=True, criterion="fpgm") as study:
        found = allocate(study, Budget(macs=0.9))
    with pytest.raises(LesionError, match="that sums over kernels, l1 or l2, got fpgm"):
        greedy(dissect(network, forward, images[:2]), found)
