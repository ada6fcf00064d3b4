"""A branch lesion takes one convolution's part out of a sum: compared with hooks set by hand."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import removal
import torch
from anatomies import net, planted
from cutting import cut
from small_networks import Net, conv, fc
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.convnext import CNBlockConfig, ConvNeXt

from lesion.lesions.lesion import Lesion


def zero_output(module: nn.Module, keep: Tensor):
    return module.register_forward_hook(lambda _module, _inputs, output: output * keep)


def zero_input(module: nn.Module, keep: Tensor):
    return module.register_forward_pre_hook(lambda _module, inputs: (inputs[0] * keep,))


BRANCHES: list[tuple[str, str, str, Callable[..., object]]] = [
    ("resnet20", "layer1.1.conv2", "layer1.1.bn2", zero_output),
    ("resnet20", "layer2.0.conv2", "layer2.0.bn2", zero_output),
    ("resnet20", "layer3.2.conv2", "layer3.2.bn2", zero_output),
    ("resnet20", "conv1", "layer1.0", zero_input),
    ("resnet18", "layer1.0.conv2", "layer1.0.bn2", zero_output),
    ("resnet18", "layer2.0.downsample.0", "layer2.0.downsample.1", zero_output),
    ("resnet18", "layer4.1.conv2", "layer4.1.bn2", zero_output),
    ("resnet18", "conv1", "maxpool", zero_output),
]


def branch(case: removal.Case, layer: str, gone: np.ndarray) -> removal.Replayed:
    """The logits, intact and without these filters of a layer's part in a sum."""
    anatomy = case.dissection.anatomy
    made = np.asarray(anatomy.made_by(layer))
    dropped = np.zeros(anatomy.channels, bool)
    dropped[made[gone]] = True
    lesion = Lesion(layer, "branch", "random", 0.5, len(gone), len(made))
    found = dict(case.replay.run((case.x,), {lesion: cut(case.replay, lesion, dropped)}))
    return removal.Replayed(found[None], found[lesion])


def check(found: removal.Replayed, expected: Tensor) -> None:
    assert (expected - found.intact).abs().max() > 1e-3 * found.size
    assert found.error(expected) <= removal.TOLERANCE * found.effect


@pytest.mark.parametrize(("name", "layer", "place", "hook"), BRANCHES)
@torch.no_grad()
def test_the_branch_contributes_zero_to_the_sum_and_the_rest_stays(name, layer, place, hook):
    case = removal.family(name)
    channels = case.dissection.anatomy.layer[layer].channels
    gone = np.random.default_rng(0).choice(channels, channels // 2, replace=False)
    keep = torch.ones(channels, 1, 1, dtype=torch.float64)
    keep[gone] = 0
    with hook(case.network.get_submodule(place), keep):
        expected = case.network(case.x)
    check(branch(case, layer, gone), expected)


def test_a_part_of_a_sum_is_a_branch_and_a_gate_is_none():
    found = planted("squeeze_and_excite").layer
    reason = "its channels multiply others (a gate), so that no part of a sum is theirs"
    assert (found["d.fc2"].branch, found["a"].branch, found["d.fc1"].branch) == (reason, reason, "")
    assert [planted("pre_activation").layer[name].branch for name in ("a", "d.conv2")] == ["", ""]


def test_operations_that_are_no_sums_have_no_branches():
    reason = "its channels meet others in an operation that is no sum"
    for name in ("larger_of_two", "side_by_side"):
        assert [planted(name).layer[layer].branch for layer in "ab"] == [reason, reason]


# a depthwise layer that reads a branch follows it: its filters fall too, and leave no bias


def parted(multiplier: int) -> Net:
    """x + depthwise(a(x)): all that arrives at the sum from a comes through a depthwise layer."""

    def step(n: nn.Module, x: Tensor) -> Tensor:
        return F.relu(n.b(x) + n.norm(n.d(F.relu(n.a(x)))))

    wide = 6 * multiplier
    return Net(step, a=conv(3, 6), d=conv(6, wide, groups=6), norm=nn.BatchNorm2d(wide),
               b=conv(3, wide), fc=fc(wide))  # fmt: skip


@pytest.mark.parametrize("multiplier", [1, 2])
@torch.no_grad()
def test_nothing_of_a_branch_is_left_behind_a_depthwise_layer(multiplier):
    case = removal.case(parted(multiplier), 3, 6, 6)
    gone = np.array([0, 2, 3])
    keep = torch.ones(6, 1, 1, dtype=torch.float64)
    keep[gone] = 0
    with zero_output(case.network.norm, keep.repeat_interleave(multiplier, 0)):
        expected = case.network(case.x)
    check(branch(case, "a", gone), expected)


class Picked(nn.Module):
    """The channels that stay."""

    def __init__(self, keep: Tensor) -> None:
        super().__init__()
        self.keep = keep

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.keep]


class Spread(Picked):
    """The channels that stay in their places, zeros for the others."""

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), len(self.keep), *x.shape[2:]).index_copy(
            1, self.keep.nonzero()[:, 0], x
        )


def narrow(module: nn.Module, keep: Tensor) -> None:
    """Takes channels from the axis 0 of all of a module's parameters."""
    for name, value in list(module.named_parameters()):
        setattr(module, name, nn.Parameter(value[keep]))


@torch.no_grad()
def test_a_stem_behind_which_layer_norm_and_a_depthwise_layer_read_is_that_of_a_narrower_stem():
    settings = [CNBlockConfig(8, 12, 2), CNBlockConfig(12, None, 1)]
    case = removal.case(ConvNeXt(settings, num_classes=5), 3, 32, 32)
    keep = torch.tensor([0, 1, 0, 0, 1, 1, 0, 1]).bool()
    small = copy.deepcopy(case.network)
    stem, (depthwise, _, norm, linear, *_) = small.features[0], small.features[1][0].block
    for module in (*stem, depthwise, norm):
        narrow(module, keep)
    depthwise.groups = int(keep.sum())
    stem[1].normalized_shape = norm.normalized_shape = (depthwise.groups,)
    linear.weight = nn.Parameter(linear.weight[:, keep])
    small.features[0] = nn.Sequential(*stem, Spread(keep))
    small.features[1][0].block[0] = nn.Sequential(Picked(keep), depthwise)
    check(branch(case, "features.0.0", (~keep).nonzero()[:, 0].numpy()), small(case.x))


def test_a_branch_that_a_depthwise_layer_reads_beside_other_values_is_none():
    def step(n: nn.Module, x: Tensor) -> Tensor:
        a, b = n.a(x), n.b(x)
        return n.c(a + b + n.d(a) + n.d(b))

    found = net(step, a=conv(3, 6), b=conv(3, 6), d=conv(6, 6, groups=6), c=conv(6, 4), fc=fc(4))
    reason = "a depthwise layer that runs several times reads its channels"
    assert [found.layer[name].branch for name in "abd"] == [reason, reason, ""]
