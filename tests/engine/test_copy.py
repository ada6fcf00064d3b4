"""Copies of networks that keep tensors from their passes."""

import copy

import pytest
import torch
from torch import nn

from lesion.network.copy import copied


def test_a_network_that_keeps_what_it_computed():
    network = nn.Sequential(nn.Linear(3, 2))
    network.kept = network[0].weight * 2.0
    with pytest.raises(RuntimeError, match="Only Tensors created explicitly"):
        copy.deepcopy(network)
    again = copied(network)
    assert torch.equal(again.kept, network.kept) and again.kept is not network.kept
    assert not again.kept.requires_grad and network.kept.requires_grad
    with torch.no_grad():
        again[0].weight.zero_()
    assert network[0].weight.abs().min() > 0
