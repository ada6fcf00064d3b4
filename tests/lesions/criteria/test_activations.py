"""Criteria of what layers and their activations give: published examples by hand."""

import pytest
import torch
import torch_pruning as tp
from seen import shown
from torch import nn

from lesion.errors import LesionError
from lesion.lesions.criteria import criterion

MAPS = [[[[1.0, 3.0, 0.0, 0.0]], [[0.0, -4.0, 0.0, 0.0]]]]  # of one filter on two images


@pytest.mark.parametrize(("name", "wanted"), [
    ("mean_mean", 0.0), ("mean_std", 1.4784), ("mean_l1", 4.0), ("mean_l2", 3.5811),
    ("var_l2", 0.17545), ("mean_activation", 0.0),
])  # fmt: skip
@pytest.mark.parametrize("batches", [1, 2])
def test_statistics_of_maps(name, wanted, batches):
    """Deviations are those of populations: the sample's would be 1.7071."""
    scores = shown(criterion(name), MAPS[0], batches=batches)
    assert scores.tolist() == pytest.approx([wanted], abs=5e-5)


def test_the_mean_of_a_map_is_signed():
    maps = torch.tensor([[[2.0, -2.0], [0.5, 0.0], [-1.0, 0.0]]])
    assert shown(criterion("mean_mean"), maps).tolist() == [0.0, 0.25, -0.5]


def test_the_variance_of_large_norms_that_hardly_vary():
    """Norms of 10⁶ and 10⁶ ± 1, where a difference of squares in 32 bits has no digit left."""
    norms = torch.tensor([1e6 - 1, 1e6, 1e6 + 1]).reshape(3, 1, 1)
    for batches in (1, 3):
        scores = shown(criterion("var_l2"), norms, batches=batches)
        assert scores.tolist() == pytest.approx([2 / 3], rel=1e-9)


def test_maps_of_one_position_have_no_deviation():
    with pytest.raises(LesionError, match=r"^its maps do not vary over positions$"):
        shown(criterion("mean_std"), torch.ones(4, 3, 1))


def test_the_percentage_of_zeros():
    """[[0, 1], [0, 0]] is 0.75 zeros; what is small but no zero counts as none."""
    maps = torch.tensor([[[0.0, 1.0, 0.0, 0.0], [1e-9, 1.0, 2.0, 3.0], [0.0, 0.0, 0.0, 0.0]]])
    scores = shown(criterion("apoz"), maps)
    assert scores.tolist() == [-0.75, 0.0, -1.0]
    assert int(scores.argmin()) == 2  # most zeros go first


def test_mean_activation_is_what_torch_pruning_counts_behind_a_relu():
    torch.manual_seed(0)
    first, second = nn.Conv2d(2, 5, 3, padding=1), nn.Conv2d(5, 3, 3)
    network = nn.Sequential(first, nn.ReLU(), second).eval()
    images = torch.randn(6, 2, 8, 8)
    importance = tp.importance.ActivationImportance(normalizer=None)
    with importance.compute_importance(network):
        network(images)
    graph = tp.DependencyGraph().build_dependency(network, images)
    group = graph.get_pruning_group(first, tp.prune_conv_out_channels, list(range(5)))
    values = torch.relu(first(images)).detach().flatten(2)
    scores = shown(criterion("mean_activation"), values, batches=3)
    assert scores.tolist() == pytest.approx(importance(group).tolist(), rel=1e-5)
