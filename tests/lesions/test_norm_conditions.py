"""FPGM's two conditions on the norms of a layer's filters."""

import numpy as np
import pytest
import torch
from torch import nn

from lesion.lesions.norm_conditions import conditions, norm_conditions, verdict
from lesion.network.dissect import dissect


def with_norms(*norms):
    """A layer whose filters have these l2 norms, and what reads it."""
    network = nn.Sequential(nn.Conv2d(2, len(norms), 2), nn.Flatten(), nn.Linear(len(norms), 2))
    with torch.no_grad():
        weight = network[0].weight
        weight /= weight.flatten(1).norm(dim=1)[:, None, None, None]
        weight *= torch.tensor(norms)[:, None, None, None]
    return dissect(network.eval(), lambda net, x: net(x), torch.rand(2, 2, 2, 2))


@pytest.mark.parametrize(
    ("norms", "spread", "smallest", "said"),
    [
        ((0.0, 1.0, 2.0, 3.0), np.sqrt(1.25) / 1.5, 0.0, "yes"),
        ((2.0, 2.0, 2.0), 0.0, 1.0, "no: norms hardly differ, even the smallest norm is large"),
        ((1.0, 3.0), 0.5, 0.5, "no: even the smallest norm is large"),
        ((0.2, *[1.0] * 39), 0.8 * np.sqrt(39) / 39.2, 8 / 39.2, "no: norms hardly differ"),
    ],
)
def test_planted_norms(norms, spread, smallest, said):
    (row,) = norm_conditions(with_norms(*norms), ["0"]).itertuples(index=False)
    assert (row.layer, row.filters, row.verdict) == ("0", len(norms), said)
    assert (row.spread, row.smallest) == pytest.approx((spread, smallest), abs=1e-6)


def test_the_rule_is_as_stated():
    assert verdict(0.25, 0.25) == "yes"
    assert verdict(0.2499, 0.25) == "no: norms hardly differ"
    assert verdict(0.25, 0.2501) == "no: even the smallest norm is large"
    assert conditions(np.zeros(3)) == (0, 0)


def test_scaling_a_layer_changes_nothing():
    norms = np.random.default_rng(0).random(9)
    assert conditions(3 * norms) == pytest.approx(conditions(norms))
