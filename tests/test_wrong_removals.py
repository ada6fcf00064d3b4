"""What earlier tools do in place of removal fails the comparison with the smaller network."""

from collections.abc import Callable
from contextlib import ExitStack

import pytest
import removal
import torch
from slicing import shrink
from torch import Tensor, nn

from lesion.network.anatomy import keeps
from lesion.zoo.networks import CifarResNet


@torch.no_grad()
def error(case: removal.Case, name: str, wrong: Callable[[Tensor], ExitStack]) -> float:
    """How far another way to remove half of a layer's filters is from the smaller network,
    relative to the removal's own effect; `wrong(keep)` is the context in which it holds."""
    anatomy = case.dissection.anatomy
    unit = anatomy.unit[anatomy.layer[name].unit]
    (dropped,) = removal.drops(unit, anatomy.channels)
    keep = torch.from_numpy(keeps(anatomy.made_by(name), dropped)).double().reshape(-1, 1, 1)
    small = shrink(case.network, anatomy, dropped)(case.x)
    with wrong(keep):
        masked = case.network(case.x)
    return float((masked - small).abs().max() / (small - case.network(case.x)).abs().max())


def zero_outputs(keep: Tensor, *modules: nn.Module) -> ExitStack:
    """Zeros for the channels in what these modules give."""
    stack = ExitStack()
    for module in modules:
        stack.enter_context(
            module.register_forward_hook(lambda _module, _inputs, output: output * keep)
        )
    return stack


def zero_weights(keep: Tensor, module: nn.Module) -> ExitStack:
    """Zeros for the filters in one convolution's weight, which comes back afterwards."""
    stack = ExitStack()
    stack.callback(module.weight.copy_, module.weight.clone())
    module.weight.mul_(keep.unsqueeze(-1))
    return stack


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    return removal.case(CifarResNet(8), 3, 8, 8)


def test_zero_weights_leak_through_batch_norm(resnet):
    block = resnet.network.layer2[0]
    assert error(resnet, "layer2.0.conv1", lambda keep: zero_weights(keep, block.conv1)) > 0.1


def test_zeros_after_batch_norm_are_removal_where_only_relu_follows(resnet):
    block = resnet.network.layer2[0]
    found = error(resnet, "layer2.0.conv1", lambda keep: zero_outputs(keep, block.bn1))
    assert found <= removal.TOLERANCE


def test_zeros_after_batch_norm_become_constants_in_a_pre_activation_network():
    case = removal.small("pre_activation")
    net = case.network  # every part of the stream is zero: the stem's, and that of each block
    parts = (net.b, net.d.conv2, net.e.conv2)
    assert error(case, "a", lambda keep: zero_outputs(keep, *parts)) > 0.1


def test_zeros_before_a_batch_norm_that_follows_a_concatenation_become_constants():
    case = removal.small("concatenated_with_itself")
    assert error(case, "a", lambda keep: zero_outputs(keep, case.network.a)) > 0.1
