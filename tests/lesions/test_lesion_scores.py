"""Scores of units: one layer's own, several layers' in equal shares."""

import networks
import numpy as np
import pytest
import torch
from torch import nn

from lesion.errors import LesionError
from lesion.lesions.criteria import criterion
from lesion.lesions.lesion import Target
from lesion.lesions.scores import Scorer
from lesion.network.dissect import dissect


def opened(network, *shape):
    with torch.no_grad():
        return dissect(network.eval(), lambda net, x: net(x), torch.zeros(2, *shape))


def scores(found, target, kind, name):
    return Scorer(found, criterion(name)).scores(Target(target, kind))


def l1(module):
    return module.weight.detach().double().abs().flatten(1).sum(1).numpy()


@pytest.fixture(scope="module")
def residual():
    network, _ = networks.resnet8(4)
    return network, opened(network, 3, 16, 16)


def test_a_free_unit_has_its_layers_scores(residual):
    network, found = residual
    want = l1(network.layer1[0].conv1)
    assert scores(found, "layer1.0.conv1", "free", "l1") == pytest.approx(want)


def test_a_branch_has_its_own_layers_scores_alone(residual):
    network, found = residual
    want = l1(network.layer2[0].conv2)
    assert scores(found, "layer2.0.conv2", "branch", "l1") == pytest.approx(want)


def test_a_coupled_unit_has_the_sum_of_shares(residual):
    """The stream of 64 channels; the stem writes the first 16, the third stage all."""
    network, found = residual
    members = [network.conv1, *(stage[0].conv2 for stage in
                                (network.layer1, network.layer2, network.layer3))]  # fmt: skip
    want = np.zeros(64)
    for member in members:
        own = l1(member)
        want[: len(own)] += own / own.mean()
    labels = found.anatomy.unit["conv1"]
    order = [label - labels.first for label in found.anatomy.made_by("layer3.0.conv2")]
    assert sorted(order) == list(range(64))
    got = scores(found, "conv1", "coupled", "l1")
    assert got[order] == pytest.approx(want)


def test_no_layer_counts_more_for_larger_weights(residual):
    network, found = residual
    before = scores(found, "conv1", "coupled", "l1")
    with torch.no_grad():
        network.layer3[0].conv2.weight *= 1000
        after = scores(found, "conv1", "coupled", "l1")
        network.layer3[0].conv2.weight /= 1000
    assert after == pytest.approx(before, rel=1e-5)


class Half(nn.Module):
    """A sum of a layer with batch norm and one without."""

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b = nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(1, 4, 1)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc((self.norm(self.a(x)) + self.b(x)).mean((2, 3)))


def test_a_criterion_that_fits_some_members_counts_those():
    network = Half()
    with torch.no_grad():
        network.norm.weight.copy_(torch.tensor([1.0, -3.0, 0.0, 4.0]))
    found = opened(network, 1, 4, 4)
    assert scores(found, "a", "coupled", "bn_scale").tolist() == [0.5, 1.5, 0, 2]
    with pytest.raises(LesionError, match="no batch norm with a scale follows b directly"):
        scores(found, "b", "branch", "bn_scale")


def test_a_criterion_that_fits_no_member_is_refused():
    network = Half()
    network.norm = nn.Identity()
    with pytest.raises(LesionError, match="no batch norm with a scale follows b directly"):
        scores(opened(network, 1, 4, 4), "a", "coupled", "bn_scale")


def test_a_batch_norm_without_a_factor_has_no_scale():
    network = Half()
    network.norm = nn.BatchNorm2d(4, affine=False)
    with pytest.raises(LesionError, match="no batch norm with a scale follows"):
        scores(opened(network, 1, 4, 4), "a", "branch", "bn_scale")


def test_weights_of_zero_give_scores_of_zero():
    network = Half()
    with torch.no_grad():
        network.a.weight.zero_()
        network.b.weight.copy_(torch.tensor([1.0, 2, 3, 2]).reshape(4, 1, 1, 1))
    found = scores(opened(network, 1, 4, 4), "a", "coupled", "l1")
    assert found.tolist() == [0.5, 1, 1.5, 1]


@pytest.mark.parametrize("groups", [1, 2])
def test_filters_of_a_transposed_convolution_lie_on_the_second_axis(groups):
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(4, 6, 3, groups=groups)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), layer, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2)
    )
    found = opened(network, 1, 8, 8)
    weight = layer.weight.detach().abs().sum((2, 3)).numpy()  # (4 inputs, 6 / groups)
    want = [
        weight[4 // groups * group : 4 // groups * (group + 1), place].sum()
        for group in range(groups)
        for place in range(6 // groups)
    ]
    assert scores(found, "1", "branch", "l1") == pytest.approx(np.array(want))
