"""One layer makes a channel if nothing is left without it: checked with hooks on the network."""

import pytest
import torch
from anatomies import anatomy
from small_networks import Net, conv, fc
from torch import Tensor, nn
from torch.nn import functional as F

from lesion.lesions.lesion import Target
from lesion.lesions.targets import targets


def gate(net: nn.Module, x: Tensor) -> Tensor:
    """Squeeze and excite."""
    return torch.sigmoid(net.up(F.relu(net.down(x.mean((2, 3), keepdim=True)))))


def gated(step) -> Net:
    """Two layers a and b, a gate, and the layer `out` that reads what `step` makes of them."""
    return Net(step, a=conv(3, 6), b=conv(6, 6), down=conv(6, 2, 1), up=conv(2, 6, 1),
               out=conv(6, 4), fc=fc(4))  # fmt: skip


def before_sum(net: nn.Module, x: Tensor) -> Tensor:
    x = F.relu(net.a(x))
    y = net.b(x)
    return net.out(F.relu(y * gate(net, y) + x))


def after_sum(net: nn.Module, x: Tensor) -> Tensor:
    x = F.relu(net.a(x))
    y = net.b(x) + x
    return net.out(F.relu(y * gate(net, y)))


def of_itself(net: nn.Module, x: Tensor) -> Tensor:
    x = F.relu(net.a(x))
    return net.out(x + x * gate(net, x))


def without_sum(net: nn.Module, x: Tensor) -> Tensor:
    x = F.relu(net.a(x))
    return net.out(x * gate(net, x))


def two_products(net: nn.Module, x: Tensor) -> Tensor:
    x = F.relu(net.a(x))
    y = net.b(x)
    return net.out(x * gate(net, y) + y * gate(net, x))


def one_shared_factor(net: nn.Module, x: Tensor) -> Tensor:
    x = F.relu(net.a(x))
    return net.out(x * torch.tanh(net.b(x)) + x * gate(net, x))


def modulated(net: nn.Module, x: Tensor) -> Tensor:
    """Scaled by a gate of its own, then shifted by another layer."""
    x = F.relu(net.a(x))
    return net.out(x * gate(net, x) + net.b(x).mean((2, 3), keepdim=True))


KINDS = {
    before_sum: "coupled", after_sum: "coupled", of_itself: "free", without_sum: "free",
    two_products: "coupled", one_shared_factor: "free", modulated: "coupled",
}  # fmt: skip


@torch.no_grad()
def left(network: nn.Module, layer: str, channel: int) -> float:
    """What the layer `out` still reads of a channel that another layer's output lacks."""
    read: list[Tensor] = []

    def zero(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        output = output.clone()
        output[:, channel] = 0
        return output

    with (
        network.get_submodule(layer).register_forward_hook(zero),
        network.out.register_forward_pre_hook(lambda _module, inputs: read.append(inputs[0])),
    ):
        network(torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0)))
    return float(read[0][:, channel].abs().max())


@pytest.mark.parametrize("step", KINDS)
def test_a_unit_is_free_where_nothing_is_left_without_one_of_its_layers(step):
    torch.manual_seed(0)
    network = gated(step).eval()
    unit = anatomy(network).unit["a"]
    alone = any(
        all(left(network, layer, channel) == 0 for channel in range(6)) for layer in unit.layers
    )
    assert unit.kind == KINDS[step] == ("free" if alone else "coupled")


def test_a_stream_with_gates_before_its_sums_is_not_cut_under_the_name_of_one_layer():
    chosen, skipped = targets(anatomy(gated(before_sum)))
    assert Target("a", "free") not in chosen
    assert {skip.target for skip in skipped if skip.kind == "branch"} == {"b", "up"}


def test_layers_that_multiply_each_other_are_one_free_unit():
    traced = anatomy(gated(lambda n, x: n.out(F.silu(n.a(x)) * n.b(n.a(x)))))
    assert traced.unit["a"].kind == "free"
    assert traced.unit["a"].layers == ("a", "b")
