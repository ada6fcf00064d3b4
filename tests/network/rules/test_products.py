"""Products of matrices: channels that are kept, and channels that are summed or multiplied out."""

import pytest
import torch
from anatomies import labels, net
from small_networks import Net, conv, fc
from test_reductions import compare
from torch import Tensor, nn


def mask(n: nn.Module, y: Tensor) -> Tensor:
    """Which pixels count, of one channel."""
    return n.mask(y).flatten(2).softmax(2)


def pooled(how):
    """Features summed over pixels with a mask."""

    def step(n: nn.Module, x: Tensor) -> Tensor:
        y = n.a(x)
        return n.b(how(y.flatten(2), mask(n, y)).reshape(len(x), -1, 1, 1))

    torch.manual_seed(0)
    return Net(step, a=conv(3, 6), mask=conv(6, 1, 1), b=conv(6, 4, 1), fc=fc(4))


HOW = {
    "matmul": lambda y, m: y @ m.transpose(1, 2),
    "from the left": lambda y, m: m @ y.transpose(1, 2),
    "with heads": lambda y, m: y[:, None] @ m[:, None].transpose(2, 3),
    "bmm": lambda y, m: torch.bmm(y, m.transpose(1, 2)),
    "einsum": lambda y, m: torch.einsum("ncp, nop -> nc", y, m),
}


@pytest.mark.parametrize("name", HOW)
def test_a_product_that_sums_over_pixels_keeps_the_channels(name):
    traced = compare(pooled(HOW[name]))
    assert (traced.unit["a"].kind, traced.unit["mask"].kind) == ("free", "tied")
    assert list(traced.layer["b"].reads) == labels(traced, "a")


def test_a_product_with_what_other_products_gave_keeps_the_channels_of_its_values():
    def step(n: nn.Module, x: Tensor) -> Tensor:
        y = n.a(x)
        q, k, v = (layer(y).flatten(2) for layer in (n.q, n.k, n.v))
        weights = (q.transpose(1, 2) @ k).softmax(2)
        return n.b((weights @ v.transpose(1, 2)).transpose(1, 2).reshape(len(x), -1, 6, 6))

    torch.manual_seed(0)
    traced = compare(Net(step, a=conv(3, 6), q=conv(6, 4, 1), k=conv(6, 4, 1), v=conv(6, 6, 1),
                        b=conv(6, 4), fc=fc(4)))  # fmt: skip
    assert {name: traced.unit[name].kind for name in "qkv"} == dict(q="tied", k="tied", v="free")
    assert traced.unit["q"].reason == "attention: is summed against other activations in matmul"


def test_channels_that_are_multiplied_with_channels_are_tied():
    def step(n: nn.Module, x: Tensor) -> Tensor:
        y = n.a(x).flatten(2)
        return n.b((y @ n.c(x).flatten(2).transpose(1, 2)).reshape(len(x), 24, 1, 1))

    traced = net(step, a=conv(3, 6), c=conv(3, 4), b=conv(24, 4, 1), fc=fc(4))
    assert {traced.unit[name].reason for name in "ac"} == {"is multiplied out in matmul"}
