"""Layers in whatever form: each removal against the network with its readers' columns zeroed."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchvision
from cutting import cut
from removal import forward, whole
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

from lesion.engine.replay import Replay
from lesion.errors import SubjectError
from lesion.network.canonical import lowered
from lesion.network.couple import couple
from lesion.network.dissect import dissect
from lesion.network.trace import trace


class Two(nn.Module):
    """A convolution `a`, another operation on its ReLU, and a classifier.

    gone: channels of a that are zero where they are read
    """

    def __init__(self, second: Callable[[nn.Module, Tensor], Tensor], **modules: object) -> None:
        super().__init__()
        self.a, self.second, self.h = nn.Conv2d(3, 8, 3), second, nn.Linear(8, 4)
        self.gone: list[int] = []
        for name, value in modules.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.a(x))
        if self.gone:
            keep = torch.ones(8, dtype=x.dtype)
            keep[self.gone] = 0
            y = y * keep.reshape(-1, 1, 1)
        y = F.relu(self.second(self, y))
        return self.h(y if y.dim() == 2 else y.flatten(2).mean(2))


def weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape) * 0.2)


def general(n: nn.Module, y: Tensor) -> Tensor:
    return torch.convolution(y, n.w, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1)


def opposite(n: nn.Module, y: Tensor) -> Tensor:
    return torch.convolution(y, n.w, None, [2, 2], [0, 0], [1, 1], True, [1, 1], 1)


FORMS: dict[str, Callable[[], nn.Module]] = {
    "matmul": lambda: Two(lambda n, y: y.mean((2, 3)) @ n.w, w=weight(8, 8)),
    "from the left": lambda: Two(lambda n, y: n.w @ y.flatten(2), w=weight(8, 8)),
    "addmm": lambda: Two(
        lambda n, y: torch.addmm(n.b, y.mean((2, 3)), n.w), w=weight(8, 8), b=weight(8)
    ),
    "einsum": lambda: Two(lambda n, y: torch.einsum("nchw,oc->nohw", y, n.w), w=weight(8, 8)),
    "einsum, turned": lambda: Two(
        lambda n, y: torch.einsum("nchw,co->nohw", y, n.w), w=weight(8, 8)
    ),
    "linear of a turned weight": lambda: Two(
        lambda n, y: F.linear(y.mean((2, 3)), n.w.t()), w=weight(8, 8)
    ),
    "convolution": lambda: Two(general, w=weight(8, 8, 3, 3)),
    "transposed convolution": lambda: Two(opposite, w=weight(8, 8, 3, 3)),
}


def zeroed(network: Two, x: Tensor, gone: list[int]) -> Tensor:
    network.gone = gone
    expected = network(x)
    network.gone = []
    return expected


@torch.no_grad()
def measured(network: nn.Module, x: Tensor, layer: str, gone: list[int]) -> tuple[Tensor, Tensor]:
    """What replay says of a layer's unit without some channels, and of the whole network."""
    dissection = dissect(network, forward, x)
    unit = dissection.anatomy.unit[dissection.anatomy.layer[layer].unit]
    assert unit.kind != "tied", unit.reason
    dropped = np.zeros(dissection.anatomy.channels, bool)
    dropped[[dissection.anatomy.made_by(layer)[at] for at in gone]] = True
    lesion = whole(unit, dropped)
    replay = Replay(dissection)
    found = dict(replay.run((x,), {lesion: cut(replay, lesion, dropped)}))
    return found[lesion], found[None]


def images(*shape: int) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(*(shape or (2, 3, 9, 9)), dtype=torch.float64)


@pytest.mark.parametrize("name", FORMS)
@torch.no_grad()
def test_what_reads_channels_is_a_layer_whatever_its_form(name):
    torch.manual_seed(0)
    network, x = FORMS[name]().double().eval(), images()
    lesioned, intact = measured(network, x, "a", [1, 4])
    torch.testing.assert_close(lesioned, zeroed(network, x, [1, 4]))
    torch.testing.assert_close(intact, network(x))
    lesioned, _ = measured(network, x, "w", [0, 5])
    keep = torch.ones(8).double()
    keep[[0, 5]] = 0
    network.h.weight.mul_(keep)  # its reader's columns
    torch.testing.assert_close(lesioned, network(x))


class Standardised(nn.Conv2d):
    """Normalises its weight, not its images."""

    def forward(self, x: Tensor) -> Tensor:
        flat = self.weight.reshape(1, self.out_channels, -1)
        made = F.batch_norm(flat, None, None, training=True, momentum=0.0)
        return F.conv2d(x, made.reshape_as(self.weight), self.bias)


def masked(layer: nn.Module) -> nn.Module:
    return prune.random_unstructured(layer, "weight", 0.4)


def low_rank() -> nn.Module:
    class Tuned(nn.Conv2d):
        def __init__(self) -> None:
            super().__init__(8, 8, 1)
            self.one, self.two = weight(8, 2), weight(2, 8)

        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(x, self.weight + (self.one @ self.two)[..., None, None], self.bias)

    return Tuned()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [
    lambda: parametrizations.weight_norm(nn.Conv2d(8, 8, 3)),
    lambda: parametrizations.spectral_norm(nn.Conv2d(8, 8, 3)),
    lambda: nn.utils.weight_norm(nn.Conv2d(8, 8, 3)),
    lambda: nn.utils.spectral_norm(nn.Conv2d(8, 8, 3)),
    lambda: masked(nn.Conv2d(8, 8, 3)),
    lambda: Standardised(8, 8, 3),
    low_rank,
])  # fmt: skip
@torch.no_grad()
def test_layers_whose_weights_are_computed_from_parameters(make):
    torch.manual_seed(0)
    network, x = Two(lambda n, y: n.b(y), b=make()).double().eval(), images()
    lesioned, intact = measured(network, x, "a", [1, 4])
    torch.testing.assert_close(lesioned, zeroed(network, x, [1, 4]))
    torch.testing.assert_close(intact, network(x))
    lesioned, _ = measured(network, x, "b", [0, 5])
    keep = torch.ones(8).double()
    keep[[0, 5]] = 0
    network.h.weight.mul_(keep)
    torch.testing.assert_close(lesioned, network(x))


def test_a_parametrised_layer_that_runs_twice_is_one_layer():
    normed = parametrizations.weight_norm(nn.Conv2d(8, 8, 3, padding=1))
    network = Two(lambda n, y: n.b(F.relu(n.b(y))), b=normed).eval()
    anatomy = dissect(network, forward, images().float()).anatomy
    assert [layer.name for layer in anatomy.layers] == ["a", "b", "h"]
    assert anatomy.unit["a"].layers == ("a", "b")


def test_normalising_the_images_is_refused_and_normalising_a_weight_is_not():
    def step(n: nn.Module, y: Tensor) -> Tensor:
        return F.batch_norm(y, None, None, training=True)

    with pytest.raises(SubjectError, match="Expected batch norms with running statistics"):
        dissect(Two(step).eval(), forward, images().float())


class Tied(nn.Module):
    """An autoencoder whose decoder uses the encoder's weight, and a classifier behind it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.i, self.enc = nn.Conv2d(3, channels, 1), nn.Conv2d(channels, 8, 3)
        self.c, self.h = nn.Conv2d(channels, 6, 1), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        z = F.relu(self.enc(F.relu(self.i(x))))
        y = F.relu(F.conv_transpose2d(z, self.enc.weight))
        return self.h(F.relu(self.c(y)).mean((2, 3)))


@pytest.mark.parametrize("channels", [8, 5])
@torch.no_grad()
def test_a_weight_in_two_roles_falls_along_one_axis_in_both(channels):
    torch.manual_seed(0)
    network, x = Tied(channels).double().eval(), images()
    for layer, gone in (("enc", [1, 4]), ("i", [0, 3])):
        lesioned, _ = measured(network, x, layer, gone)
        small = Tied(channels).double().eval()
        small.load_state_dict(network.state_dict())
        stay = [at for at in range(len(getattr(network, layer).bias)) if at not in gone]
        made = getattr(small, layer)
        if layer == "enc":
            made.weight = nn.Parameter(made.weight[stay])
        else:
            made.weight = nn.Parameter(made.weight[stay])
            small.enc.weight = nn.Parameter(small.enc.weight[:, stay])
            small.c.weight = nn.Parameter(small.c.weight[:, stay])
        made.bias = nn.Parameter(made.bias[stay])
        torch.testing.assert_close(lesioned, small(x))
    anatomy = dissect(network, forward, x).anatomy
    assert anatomy.unit["i"].layers == ("i", "enc.conv_transpose2d")
    assert anatomy.unit["enc"].kind == "free"


def test_a_weight_whose_inputs_are_the_images_ties_its_other_role():
    class Small(Tied):
        def forward(self, x: Tensor) -> Tensor:
            return self.h(F.conv_transpose2d(F.relu(self.enc(x)), self.enc.weight).mean((2, 3)))

    network = Small(3).eval()
    network.h = nn.Linear(3, 4)
    anatomy = dissect(network, forward, images().float()).anatomy
    assert anatomy.unit["enc"].kind == "free"
    assert anatomy.unit["enc.conv_transpose2d"].reason == (
        "its weight is that of a conv2d too, whose inputs cannot be removed"
    )


def test_a_bias_that_two_layers_share_lets_their_channels_fall_together():
    network = Two(lambda n, y: n.c(F.relu(n.b(y))), b=nn.Conv2d(8, 8, 1), c=nn.Conv2d(8, 8, 1))
    network.b.bias = network.a.bias
    anatomy = dissect(network.eval(), forward, images().float()).anatomy
    assert (anatomy.unit["a"].kind, anatomy.unit["a"].layers) == ("coupled", ("a", "b"))


class Experts(nn.Module):
    """A convolution whose weights are mixed for each image; images lie in its groups."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.route = weight(3, 8 * 8 * 9), nn.Linear(8, 3)

    def forward(self, y: Tensor) -> Tensor:
        images, channels, *size = y.shape
        mixed = torch.sigmoid(self.route(y.mean((2, 3)))) @ self.weight
        mixed = mixed.view(images * 8, channels, 3, 3)
        out = F.conv2d(y.reshape(1, images * channels, *size), mixed, groups=images)
        return out.view(images, 8, *out.shape[-2:])


def test_groups_that_depend_on_the_batch_are_a_row_with_the_reason():
    anatomy = dissect(
        Two(lambda n, y: n.b(y), b=Experts()).eval(), forward, images().float()
    ).anatomy
    layers = {layer.name: (layer.kind, layer.channels) for layer in anatomy.layers}
    assert layers == {
        "a": ("conv2d", 8), "b.route": ("linear", 3), "b": ("conv2d", 8), "h": ("linear", 4)
    }  # fmt: skip
    assert anatomy.layer["b"].macs == 5 * 5 * 8 * 8 * 9
    assert anatomy.unit["b"].reason == "its layer's weights depend on the images"
    assert "whose weights depend on the images" in anatomy.unit["a"].reason


def test_weights_that_serve_for_others_alone_need_no_label_for_each():
    x = images().float()
    network = Two(lambda n, y: n.b(y), b=Experts()).eval()
    with torch.no_grad():
        coupling = couple(lowered(trace(network, forward, x)), (x,))
    assert coupling.count < network.b.weight.numel() / 10


@pytest.mark.parametrize(("second", "modules", "rows"), [
    (lambda n, y: n.b(y.flatten(2).transpose(1, 2))[0].mean(1),
     {"b": nn.LSTM(8, 8, batch_first=True)}, ["b.weight_ih_l0", "b.weight_hh_l0"]),
    (lambda n, y: n.b(y.mean((2, 3)), y.mean((2, 3))), {"b": nn.Bilinear(8, 8, 8)}, ["b"]),
    (lambda n, y: n.b(y, n.o(y)), {"b": torchvision.ops.DeformConv2d(8, 8, 1),
                                   "o": nn.Conv2d(8, 2, 1)}, ["b"]),
    (lambda n, y: torch.bmm(n.w.expand(len(y), 8, 8), y.flatten(2)), {"w": weight(8, 8)}, []),
])  # fmt: skip
def test_weighted_operations_that_are_not_taken_apart_have_rows(second, modules, rows):
    anatomy = dissect(Two(second, **modules).eval(), forward, images().float()).anatomy
    for row in rows:
        unit = anatomy.unit[row]
        assert unit.kind == "tied"
        assert unit.reason.startswith("its layer runs as ")
    assert anatomy.unit["a"].kind == "tied"


def test_two_weights_of_one_module_are_two_layers():
    def second(n: nn.Module, y: Tensor) -> Tensor:
        return F.conv2d(F.relu(F.conv2d(y, n.b.one)), n.b.two)

    inner = nn.Module()
    inner.one, inner.two = weight(6, 8, 1, 1), weight(8, 6, 1, 1)
    anatomy = dissect(Two(second, b=inner).eval(), forward, images().float()).anatomy
    assert [layer.name for layer in anatomy.layers] == ["a", "b.one", "b.two", "h"]


def test_a_network_of_torch_jit_trace_is_taken_apart():
    layers = (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3))
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))
    network = nn.Sequential(*layers, *head).eval()
    x = images().float()
    anatomy = dissect(torch.jit.trace(network, x), forward, x).anatomy
    assert anatomy.layers == dissect(network, forward, x).anatomy.layers


@torch.no_grad()
def test_parameters_may_be_named_like_operations():
    plain = Two(lambda n, y: F.conv2d(y, n.w) * n.v, w=weight(8, 8, 1, 1), v=weight(8, 1, 1))
    named = Two(
        lambda n, y: F.conv2d(y, n.conv2d) * n.batch_norm,
        conv2d=plain.w, batch_norm=plain.v, linear=weight(3), item=weight(2), einsum=weight(4),
    )  # fmt: skip
    named.load_state_dict(plain.state_dict(), strict=False)
    x = images()
    expected, _ = measured(plain.double().eval(), x, "a", [2])
    lesioned, _ = measured(named.double().eval(), x, "a", [2])
    torch.testing.assert_close(lesioned, expected)
