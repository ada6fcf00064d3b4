"""Reductions: over pixels, over branches on an axis of their own, over channels."""

import pytest
import removal
import torch
from anatomies import labels, net
from small_networks import Net, conv, fc
from torch import Tensor, nn
from torch.nn import functional as F

from lesion.network.anatomy import Anatomy


def compare(network: Net) -> Anatomy:
    """The anatomy, once every unit's removal was found to equal the smaller network."""
    case = removal.case(network, *network.shape)
    for unit in case.units:
        for dropped in removal.drops(unit, case.dissection.anatomy.channels, seeds=2):
            result = removal.removal(case, unit, dropped)
            assert result.error <= removal.TOLERANCE, (unit.name, result)
            assert result.at != "nothing"
    return case.dissection.anatomy


def between(step) -> Net:
    """What `step` makes of a layer's output, between two layers."""
    torch.manual_seed(0)
    return Net(lambda n, x: n.b(step(n.a(x))), a=conv(3, 6), b=conv(6, 4, 1), fc=fc(4))


PIXELS = {
    "vector norm": lambda y: torch.linalg.vector_norm(y, dim=(2, 3), keepdim=True),
    "norm": lambda y: y.flatten(2).norm(p=1, dim=2)[..., None, None],
    "variance": lambda y: y.var((2, 3), keepdim=True),
    "deviation": lambda y: y.std((2, 3), keepdim=True, correction=0),
    "variance and mean": lambda y: torch.cat(torch.var_mean(y, (2, 3), keepdim=True), 3),
    "deviation and mean": lambda y: sum(torch.std_mean(y, (2, 3), keepdim=True)),
    "greatest": lambda y: y.amax((2, 3), keepdim=True),
    "least": lambda y: y.amin((2, 3), keepdim=True),
    "its place": lambda y: y.flatten(2).argmax(2)[..., None, None].double(),
    "median": lambda y: y.flatten(2).median(2)[0][..., None, None],
    "best two": lambda y: y.flatten(2).topk(2, 2)[0][..., None],
    "sorted": lambda y: y.flatten(2).sort(2)[0].reshape(y.shape),
    "both ends": lambda y: sum(torch.aminmax(y.flatten(2), dim=2))[..., None, None],
    "log of sums": lambda y: y.logsumexp((2, 3), keepdim=True),
    "softmax": lambda y: y * y.flatten(2).softmax(2).reshape(y.shape),
    "cumulated": lambda y: y.cumsum(3),
    "counted": lambda y: y * (y > 0).count_nonzero((2, 3))[..., None, None],
}


@pytest.mark.parametrize("name", PIXELS)
def test_over_pixels_every_channel_stays_itself(name):
    traced = compare(between(PIXELS[name]))
    assert (traced.unit["a"].kind, traced.notes) == ("free", ())
    assert list(traced.layer["b"].reads) == labels(traced, "a")


def responses(y: Tensor) -> Tensor:
    """Global response normalisation."""
    size = torch.linalg.vector_norm(y, dim=(2, 3), keepdim=True)
    return y + y * size / (size.mean(1, keepdim=True) + 1e-6)


CHANNELS = {
    "responses": responses,
    "centred": lambda y: y - y.mean(1, keepdim=True),
    "summed": lambda y: y / (2 + y.abs().sum(1)[:, None]),
    "standardised": lambda y: (y - y.mean(1, keepdim=True)) / (1 + y.var(1, keepdim=True)).sqrt(),
    "both at once": lambda y: y - sum(torch.std_mean(y, 1, keepdim=True)),
    "unit vectors": lambda y: F.normalize(y, dim=1),
    "largest": lambda y: y * torch.sigmoid(y.amax(1, keepdim=True)),
    "largest without its place": lambda y: y * torch.sigmoid(y.max(1, keepdim=True)[0]),
    "least": lambda y: y - y.amin((1, 2, 3), keepdim=True),
    "softmax": lambda y: y.softmax(1),
    "log softmax": lambda y: y.log_softmax(1),
    "log of sums": lambda y: y - y.logsumexp(1, keepdim=True),
}


@pytest.mark.parametrize("name", CHANNELS)
def test_over_channels_those_that_stay_count(name):
    traced = compare(between(CHANNELS[name]))
    assert (traced.unit["a"].kind, traced.notes) == ("free", ())


@pytest.mark.parametrize(
    ("step", "name"),
    [
        (lambda y: y * y.argmax(1, keepdim=True), "argmax"),
        (lambda y: y * y.max(1, keepdim=True)[1], "max"),
        (lambda y: y.cumsum(1), "cumsum"),
        (lambda y: y.sort(1)[0], "sort"),
    ],
)
def test_places_and_orders_of_channels_tie_them(step, name):
    unit = net(lambda n, x: n.b(step(n.a(x))), a=conv(3, 6), b=conv(6, 4), fc=fc(4)).unit["a"]
    assert unit.reason == f"enters {name}, behind which channels cannot be followed"


def attention_of_two(channels: str):
    """Two branches, and attention to them, in the manner of selective kernels."""

    def step(n: nn.Module, x: Tensor) -> Tensor:
        both = torch.stack([F.relu(n.a(x)), F.relu(n.b(x))], 1)
        if channels == "sum":
            return n.out(both.sum(1))
        attention = n.fc2(F.relu(n.fc1(both.sum(1).mean((2, 3), keepdim=True))))
        attention = attention.view(len(x), 2, 6, 1, 1).softmax(1)
        return n.out((both * attention).sum(1))

    return step


def two_branches(step) -> Net:
    torch.manual_seed(0)
    return Net(step, a=conv(3, 6), b=conv(3, 6), fc1=conv(6, 4, 1), fc2=conv(4, 12, 1),
               out=conv(6, 4), fc=fc(4))  # fmt: skip


def test_the_sum_over_a_stacked_axis_is_a_sum():
    traced = compare(two_branches(attention_of_two("sum")))
    assert (traced.unit["a"].kind, traced.unit["a"].layers) == ("coupled", ("a", "b"))
    assert (traced.layer["a"].branch, traced.layer["b"].branch) == ("", "")


def test_a_softmax_over_stacked_branches_is_taken_channel_by_channel():
    network = two_branches(attention_of_two("softmax"))
    case = removal.case(network, *network.shape)
    traced = case.dissection.anatomy
    assert traced.notes == ()
    assert (traced.unit["a"].kind, traced.unit["a"].channels) == ("coupled", 6)
    assert traced.unit["a"].layers == ("a", "b", "fc2")
    assert labels(traced, "fc2") == 2 * labels(traced, "a")
