"""Pooling: over pixels channels go through."""

import pytest
import torch
from anatomies import labels, planted
from small_networks import Net, conv, fc
from test_reductions import compare
from torch import nn
from torch.nn import functional as F


def test_pooling_over_pixels_keeps_the_labels():
    traced = planted("pooled_twice")
    assert list(traced.layer["b"].reads) == 2 * labels(traced, "a")


@pytest.mark.parametrize("options", [
    {"mode": "bicubic", "antialias": True}, {"mode": "bilinear"}, {"mode": "nearest"}
])  # fmt: skip
def test_a_table_of_positions_that_is_resized_follows_the_channels_that_it_is_added_to(options):
    def step(n, x):
        return n.b(n.norm(n.a(x) + F.interpolate(n.table, size=(6, 6), **options)))

    torch.manual_seed(0)
    network = Net(step, a=conv(3, 8), norm=nn.BatchNorm2d(8), b=conv(8, 4), fc=fc(4))
    network.table = nn.Parameter(torch.randn(1, 8, 4, 4))
    traced = compare(network)
    assert list(traced.parameter["table"].axes[1]) == labels(traced, "a")
    assert (traced.unit["a"].kind, traced.unit["a"].held) == ("free", "")
