"""The costs of Li et al. 2017, table 1, and those of networks that are smaller in fact."""

import copy

import networks
import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models

from lesion.errors import LesionError
from lesion.lesions.pruned_cost import cost_at
from lesion.network.cost import cost
from lesion.network.layers import layers
from lesion.zoo.networks import CifarResNet


def vgg16():
    """VGG-16 for CIFAR: thirteen convolutions and two linear layers, the first without offsets."""
    features = models.vgg.make_layers(models.vgg.cfgs["D"], batch_norm=True)
    head = nn.Linear(512, 512, bias=False), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 10)
    return nn.Sequential(features, nn.Flatten(), *head)


NETWORKS = {
    "vgg16": (vgg16, 32),
    "resnet56": (lambda: CifarResNet(56), 32),
    "resnet110": (lambda: CifarResNet(110), 32),
    "resnet34": (models.resnet34, 224),
}
R34 = (2, 8, 14, 16, 26, 28, 30, 32)
BUT_VGG = (*range(2, 8), 14, 15)
# network, skipped, rates a stage; MACs and parameters before and after, cuts in per cent
TABLE = {
    "VGG-16-A": ("vgg16", BUT_VGG, (50,) * 6,
                 (313.46e6, 206.28e6, 34.19), (14.978e6, 5.390e6, 64.01)),
    "R56-A": ("resnet56", (16, 20, 38, 54), (10, 10, 10),
              (125.49e6, 112.44e6, 10.40), (0.8490e6, 0.7695e6, 9.36)),
    "R56-B": ("resnet56", (16, 18, 20, 34, 38, 54), (60, 30, 10),
              (125.49e6, 90.91e6, 27.56), (0.8490e6, 0.7320e6, 13.77)),
    "R110-A": ("resnet110", (36,), (50, 0, 0),
               (252.89e6, 212.78e6, 15.86), (1.7199e6, 1.6807e6, 2.28)),
    "R110-B": ("resnet110", (36, 38, 74), (50, 40, 30),
               (252.89e6, 155.12e6, 38.66), (1.7199e6, 1.1617e6, 32.45)),
    "R34-A": ("resnet34", R34, (30, 30, 30, 0),
              (3.6445e9, 3.081e9, 15.46), (21.609e6, 19.964e6, 7.61)),
    "R34-B": ("resnet34", R34, (50, 60, 40, 0),
              (3.6445e9, 2.763e9, 24.19), (21.609e6, 19.282e6, 10.77)),
}  # fmt: skip
DIGITS = {
    "VGG-16-A": ((-4, -4), (-3, -3)),
    "R34-A": ((-5, -6), (-3, -3)),
    "R34-B": ((-5, -6), (-3, -3)),
}  # the last printed digit, as a power of ten, of MACs and of parameters


@pytest.fixture(scope="module")
def anatomies():
    by_name = {}

    def of(name):
        if name not in by_name:
            make, size = NETWORKS[name]
            by_name[name] = layers(make(), torch.zeros(2, 3, size, size))
        return by_name[name]

    return of


def rates_of(anatomy, skipped, rates):
    """The rate of each free unit that is not skipped, by its stage."""
    return {
        layer.name: rates[(layer.stage or 1) - 1] / 100
        for layer in anatomy.layers
        if anatomy.unit[layer.unit].kind == "free" and layer.unit == layer.name
        and layer.number not in skipped and rates[(layer.stage or 1) - 1]
    }  # fmt: skip


@pytest.mark.parametrize("variant", TABLE)
def test_lis_table_to_the_printed_digits(variant, anatomies):
    """Of all offsets only the last layer's count: with them every printed digit comes out."""
    name, skipped, rates, macs, parameters = TABLE[variant]
    anatomy = anatomies(name)
    before, after = cost(anatomy), cost_at(anatomy, rates_of(anatomy, skipped, rates))
    shortcuts = [layer for layer in anatomy.layers if layer.number is None]  # Li leaves them out
    saved = sum(layer.macs for layer in shortcuts)
    size = sum(int(np.prod(anatomy.parameter[layer.weight].shape)) for layer in shortcuts)
    linear = [layer for layer in anatomy.layers if layer.kind == "linear"]
    offsets = sum(layer.channels for layer in linear if layer.bias)
    digits, places = DIGITS.get(variant, ((-4, -4), (-2, -2)))
    for start, end, extra, printed, (first, last) in (
        (before.macs, after.macs, -saved, macs, digits),
        (before.weights, after.weights, offsets - size, parameters, places),
    ):
        start, end = start + extra, end + extra
        assert (round(start, first), round(end, last)) == printed[:2]
        assert round(100 * (1 - end / start), 2) == printed[2]


def test_the_count_with_batch_norm_and_biases_is_the_true_one(anatomies):
    """ResNet-56: 848 944 weights, 853 018 with batch norm and the classifier's biases."""
    costs = cost(anatomies("resnet56"))
    assert (costs.weights, costs.parameters) == (848_944, 853_018)
    network = CifarResNet(56)
    assert costs.parameters == sum(p.numel() for p in network.parameters())


def test_a_layer_by_hand():
    """2×2 pixels · 9 weights · 4 filters, then 16 · 2; with two filters gone half of all."""
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    anatomy = layers(network, torch.zeros(2, 1, 4, 4))
    whole, half = cost(anatomy), cost_at(anatomy, {"0": 0.5})
    assert (whole.macs, whole.weights, whole.parameters) == (176, 68, 74)
    assert (half.macs, half.weights, half.parameters) == (88, 34, 38)


@pytest.mark.parametrize("family", ["resnet20", "mobilenet"])
def test_a_unit_that_is_gone_costs_what_the_smaller_network_costs(family):
    """Counted on the network itself: hooks for MACs, its parameters for the sizes."""
    network, data = networks.FAMILIES[family](4)
    anatomy = layers(network, data.tensors[0][:2])
    assert cost(anatomy).macs == counted(network, data.tensors[0][:1])
    layer = "layer2.1.conv1" if family == "resnet20" else "features.3.conv.0.0"
    keep = network.get_submodule(layer).out_channels // 2
    smaller = shrunk(copy.deepcopy(network), layer, keep)
    costs = cost_at(anatomy, {layer: 0.5})
    assert costs.macs == counted(smaller, data.tensors[0][:1])
    assert costs.parameters == sum(p.numel() for p in smaller.parameters())


def counted(network, image):
    """Multiply-accumulates of convolutions and linear layers, by hooks."""
    total = 0

    def count(module, _, out):
        nonlocal total
        weights = module.weight[0].numel()
        total += weights * out.numel()

    hooks = [
        module.register_forward_hook(count)
        for module in network.modules()
        if isinstance(module, (nn.Conv2d, nn.Linear))
    ]
    with torch.no_grad():
        network(image)
    for hook in hooks:
        hook.remove()
    return total


def shrunk(network, layer, keep):
    """The network whose layer, and what follows it up to the next reader, has `keep` channels."""
    leaves = [module for module in network.modules() if not any(module.children())]
    start = leaves.index(network.get_submodule(layer))
    with torch.no_grad():
        for module in leaves[start:]:
            depthwise = isinstance(module, nn.Conv2d) and module.groups > 1
            if isinstance(module, nn.Conv2d) and module is not leaves[start] and not depthwise:
                module.weight = nn.Parameter(module.weight[:, :keep])
                return network
            for name in ("weight", "bias", "running_mean", "running_var"):
                value = getattr(module, name, None)
                if isinstance(value, nn.Parameter):
                    setattr(module, name, nn.Parameter(value[:keep]))
                elif value is not None:
                    setattr(module, name, value[:keep])
            if depthwise:
                module.groups = keep
    raise AssertionError("nothing reads the layer")


def test_a_name_that_is_no_unit_is_refused(anatomies):
    anatomy = anatomies("resnet56")
    with pytest.raises(LesionError, match=r"got 'layer9': no unit has that name\.$"):
        cost_at(anatomy, {"layer9": 0.5})
    with pytest.raises(LesionError, match=r"got 'fc': its channels are the network's outputs\.$"):
        cost_at(anatomy, {"fc": 0.5})
    with pytest.raises(LesionError, match=r"Expected pruning ratios between 0 and 1, got 1\.5"):
        cost_at(anatomy, {"layer1.0.conv1": 1.5})


@pytest.mark.parametrize("name", ["resnet56", "vgg16"])
def test_the_layers_that_shrink_are_those_whose_weights_have_another_shape(name, anatomies):
    anatomy = anatomies(name)
    weights = {layer.name: anatomy.parameter[layer.weight] for layer in anatomy.layers}
    rng = np.random.default_rng(0)
    for share in (0.0, 0.002, 0.05, 1.0):
        gone = rng.random(anatomy.channels) < share
        smaller = [name for name, weight in weights.items() if weight.kept(gone) != weight.shape]
        assert anatomy.shrinking(gone) == smaller
