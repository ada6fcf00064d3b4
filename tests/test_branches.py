"""A branch lesion takes one convolution's part out of a sum: compared with hooks set by hand."""

from collections.abc import Callable

import numpy as np
import pytest
import removal
import torch
from torch import Tensor, nn

from lesion.plan import Lesion


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


@pytest.mark.parametrize(("name", "layer", "place", "hook"), BRANCHES)
@torch.no_grad()
def test_the_branch_contributes_zero_to_the_sum_and_the_rest_stays(name, layer, place, hook):
    case = removal.family(name)
    made = np.asarray(case.dissection.anatomy.made_by(layer))
    gone = np.random.default_rng(0).choice(len(made), len(made) // 2, replace=False)
    dropped = np.zeros(case.dissection.anatomy.channels, bool)
    dropped[made[gone]] = True
    lesion = Lesion(layer, "branch", "random", 0.5, len(gone), len(made))
    found = dict(case.replay.run((case.x,), {lesion: dropped}))
    keep = torch.ones(len(made), 1, 1, dtype=torch.float64)
    keep[gone] = 0
    with hook(case.network.get_submodule(place), keep):
        expected = case.network(case.x)
    effect = (expected - found[None]).abs().max()
    assert effect > 1e-3 * found[None].abs().max()
    assert (found[lesion] - expected).abs().max() <= removal.TOLERANCE * effect
