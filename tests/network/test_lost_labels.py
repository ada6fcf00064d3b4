"""No channel acts on others unseen: what no rule accounts for is tied."""

import torch
from anatomies import mixing
from small_networks import Net, conv, fc
from torch import Tensor, nn
from torch.nn import functional as F


def reason(step) -> str:
    """Why the layer a cannot lose channels, where `step` leads its output to the layer b."""
    network = Net(lambda n, x: n.b(step(n, x)), a=conv(3, 6), b=conv(6, 4), fc=fc(4))
    return mixing(network)["a"].reason


def test_a_channel_that_says_where_to_read_others_is_tied():
    def step(n: nn.Module, x: Tensor) -> Tensor:
        y = n.a(x)
        order = (y[0, 5, 0] > 0).long()
        return y.index_select(2, order)

    expected = "acts on others in index_select, behind which channels cannot be followed"
    assert reason(step) == expected


def test_a_channel_that_computes_a_bias_is_tied():
    def step(n: nn.Module, x: Tensor) -> Tensor:
        y = n.a(x)
        return F.conv2d(y, torch.ones(6, 6, 1, 1), y[0, 5, 0, :6])

    assert reason(step) == "is read by conv2d, whose weights depend on the images"


def test_a_channel_that_becomes_a_number_is_tied():
    def step(n: nn.Module, x: Tensor) -> Tensor:
        y = n.a(x)
        return y * 2 if float(y[0, 5, 0, 0]) > -1e9 else y

    assert reason(step).startswith("is turned into a number by ")


def test_shapes_tell_nothing_of_channels():
    assert reason(lambda n, x: n.a(x) * n.a(x).shape[2]) == ""
    assert reason(lambda n, x: n.a(x) + torch.zeros_like(n.a(x)[:, :1])) == ""
