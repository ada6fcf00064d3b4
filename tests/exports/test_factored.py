"""Layers of low rank as smaller ones: what they give, their settings, and that a file has them."""

import copy

import networks
import pytest
import torch
from torch import nn

from lesion.compression.factors import of_rank
from lesion.exports.factored import can_be_factored, factored
from lesion.exports.pruned import apply
from lesion.exports.pruned_files import load_pruned, save_pruned
from lesion.network.layers import layers
from lesion.rates.budget import Budget
from lesion.rates.recommend import recommend
from lesion.sweeps.sweep import sweep

CASES = [
    (nn.Linear(12, 7), (2, 12), "svd", (3,)),
    (nn.Conv2d(6, 8, 3, stride=(2, 1), padding=(1, 2), dilation=(1, 2)), (2, 6, 9, 9), "svd", (4,)),
    (nn.Conv2d(6, 8, (3, 5), stride=(2, 1), padding=(0, 2)), (2, 6, 9, 9), "spatial", (5,)),
    (nn.Conv2d(6, 8, 3, padding=2, dilation=2, bias=False), (2, 6, 9, 9), "spatial", (5,)),
    (nn.Conv2d(6, 8, 3, stride=2, padding=1), (2, 6, 9, 9), "tucker2", (3, 4)),
    (nn.Conv2d(6, 8, 3, stride=(1, 2), padding=(1, 0)), (2, 6, 9, 9), "cp", (7,)),
    (nn.Conv1d(6, 8, 5, stride=2, padding=2), (2, 6, 20), "svd", (4,)),
    (nn.Conv3d(4, 6, 3, padding=1), (2, 4, 5, 5, 5), "tucker2", (3, 4)),
]


@pytest.mark.parametrize(("module", "shape", "form", "ranks"), CASES)
def test_they_give_what_the_composed_weight_gives(module, shape, form, ranks):
    x, whole = torch.randn(shape, generator=torch.Generator().manual_seed(0)), copy.deepcopy(module)
    whole.weight = nn.Parameter(of_rank(module.weight.detach(), form, ranks, seed=3))
    small = factored(module, module.weight, form, ranks, seed=3)
    assert torch.allclose(small(x), whole(x), atol=1e-5)
    assert (small[-1].bias is None) == (module.bias is None)
    assert all(layer.bias is None for layer in small[:-1])


def test_they_have_the_mode_and_kind_of_numbers_of_the_layer():
    module = nn.Conv2d(6, 8, 3).double().eval().requires_grad_(False)
    small = factored(module, module.weight, "spatial", (2,))
    assert not small.training and not any(layer.training for layer in small)
    assert {p.dtype for p in small.parameters()} == {torch.float64}
    assert not any(p.requires_grad for p in small.parameters())


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.ConvTranspose2d(4, 4, 3),
        nn.MultiheadAttention(4, 2).out_proj,
        nn.Identity(),
    ],
)
def test_what_has_no_such_place(module):
    assert not can_be_factored(module)


class Reading(networks.Plain):
    """`Plain` with a forward that asks a layer for its number of filters."""

    def forward(self, x):
        return super().forward(x) + 0 * self.b.out_channels


@pytest.mark.parametrize(("kind", "apart"), [(networks.Plain, True), (Reading, False)])
def test_a_network_has_them_where_its_forward_lets_it(kind, apart, tmp_path):
    network, data = networks.plain(48)
    other = kind().eval()
    other.load_state_dict(network.state_dict())
    path = tmp_path / "a.lesion"
    with sweep(other, data, path, damage="low_rank", ratios=(0.5,), full=True) as study:
        low = recommend(study, budget=Budget(macs=0.7), damage="low_rank")
    images = data.tensors[0][:4]
    small = apply(low, other, images)
    assert isinstance(small.b, nn.Sequential) == apart
    save_pruned(small, low, tmp_path / "small.safetensors")
    again = load_pruned(kind, tmp_path / "small.safetensors").eval()
    assert torch.equal(again(images), small.eval()(images))
    again.train()(images).sum().backward()
    if apart:
        counted = layers(small, images)
        assert sum(layer.macs for layer in counted.layers) == low.pruned.macs
