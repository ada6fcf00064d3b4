"""Shared and computed weights are pruned in a copy: outputs as with zeros in what reads them."""

import copy
import json
import warnings

import allocations
import pytest
import torch
from safetensors.torch import load
from small_networks import Net, chain, conv, fc
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune

from lesion.errors import LesionError
from lesion.exports.export import export
from lesion.exports.programs import export_pruned
from lesion.exports.pruned import applied, apply
from lesion.exports.pruned_files import load_pruned, save_pruned
from lesion.exports.targets.torch_prune import to_torch_prune
from lesion.exports.targets.torch_pruning import to_torch_pruning
from lesion.network.cost import cost
from lesion.network.layers import layers


def images(seed=0):
    return torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(seed))


class Zeroed:
    """A network whose modules get zeros in the place of the channels that fall before them."""

    def __init__(self, network, fallen):
        self.network, self.fallen = network, fallen

    def __call__(self, x):
        hooks = [
            self.network.get_submodule(reader).register_forward_pre_hook(self._without(gone))
            for reader, gone in self.fallen.items()
        ]
        with torch.no_grad():
            answers = self.network(x)
        for hook in hooks:
            hook.remove()
        return answers

    @staticmethod
    def _without(gone):
        def change(module, inputs):
            changed = inputs[0].clone()
            changed[:, gone] = 0.0
            return (changed,)

        return change


def check(small, network, fallen, x):
    """The smaller network gives what the whole one gives with zeros, which is not what it gives."""
    expected = Zeroed(network, fallen)(x)
    with torch.no_grad():
        effect = (expected - network(x)).abs().max()
        assert effect > 1e-3
        assert (small(x) - expected).abs().max() <= 1e-5 * effect + 1e-6 * expected.abs().max()


# --- one weight, several modules


def two_scales():
    def step(n, x):
        return n.c(n.a(n.stem(x).relu()).relu()) + n.d(n.b(n.stem(x.flip(-1)).relu()).relu())

    return Net(step, stem=conv(3, 6), a=conv(6, 5), b=conv(6, 5), c=conv(5, 4), d=conv(5, 4),
               fc=fc(4))  # fmt: skip


def concatenated():
    def step(n, x):
        y = n.stem(x).relu()
        return n.c(torch.cat([n.a(y).relu(), n.b(y).sigmoid()], 1))

    return Net(step, stem=conv(3, 6), a=conv(6, 5), b=conv(6, 5), c=conv(10, 4), fc=fc(4))


def residual():
    def step(n, x):
        x = n.stem(x)
        x = x + n.a(x).relu()
        return n.c(x + n.b(x).relu())

    return Net(step, stem=conv(3, 6), a=conv(6, 6), b=conv(6, 6), c=conv(6, 4), fc=fc(4))


def depthwise():
    def step(n, x):
        y = n.stem(x).relu()
        return n.c(n.a(y).relu() + n.b(y).sigmoid())

    return Net(step, stem=conv(3, 6), a=conv(6, 6, groups=6), b=conv(6, 6, groups=6),
               c=conv(6, 4), fc=fc(4))  # fmt: skip


def turned_round():
    """The weight of a is that of the transposed convolution b, whose inputs are its outputs."""
    return Net(lambda n, x: n.c(n.b(n.a(n.stem(x).relu()).relu()).relu()), stem=conv(3, 6),
               a=conv(6, 5), b=nn.ConvTranspose2d(5, 6, 3, padding=1), c=conv(6, 4),
               fc=fc(4))  # fmt: skip


def linear():
    return Net(lambda n, x: n.b(n.a(n.stem(x).relu().mean((2, 3))).relu()).relu(),
               stem=conv(3, 6), a=nn.Linear(6, 6), b=nn.Linear(6, 6), fc=fc(6))  # fmt: skip


# what is cut, and before which modules zeros take its place
SHARED = {
    "two_scales": (two_scales, "b", [0, 2], {"c": [0, 2], "d": [0, 2]}),
    "their_inputs": (two_scales, "stem", [1, 4], {"a": [1, 4], "b": [1, 4]}),
    "concatenated": (concatenated, "b", [0, 3], {"c": [0, 3, 5, 8]}),
    "residual": (residual, "stem", [1, 5], {"a": [1, 5], "b": [1, 5], "c": [1, 5]}),
    "depthwise": (depthwise, "stem", [2, 3], {"c": [2, 3]}),
    "turned_round": (turned_round, "b", [0], {"b": [0]}),
    "its_inputs": (turned_round, "stem", [0, 5], {"a": [0, 5], "c": [0, 5]}),
    "linear": (linear, "stem", [0, 4], {"a": [0, 4], "b": [0, 4], "fc": [0, 4]}),
}


def sharing(make, seed=0):
    torch.manual_seed(seed)
    network = make().eval()
    network.b.weight = network.a.weight
    return network


def rates_of(network, unit, numbers, x):
    return allocations.by_channels(layers(network, x), {unit: numbers})


@pytest.mark.parametrize("name", SHARED)
def test_what_modules_share_they_share_pruned(name, tmp_path):
    make, unit, numbers, fallen = SHARED[name]
    network, x = sharing(make), images()
    before = copy.deepcopy(network.state_dict())
    rates = rates_of(network, unit, numbers, x)
    small = apply(rates, network, x)
    check(small, network, fallen, x)
    assert small.b.weight is small.a.weight
    assert small.a.weight.numel() < network.a.weight.numel()
    assert network.b.weight is network.a.weight
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    save_pruned(small, rates, tmp_path / "small.safetensors")
    again = load_pruned(sharing(make, seed=1), tmp_path / "small.safetensors")
    assert again.b.weight is again.a.weight
    assert torch.equal(again(x), small(x))
    export_pruned(small, rates, tmp_path / "small.pt2", x)
    program = torch.export.load(tmp_path / "small.pt2").module()
    assert torch.allclose(program(images(1)), small(images(1)), atol=1e-6)


@pytest.mark.parametrize("name", SHARED)
def test_costs_of_a_shared_weight_are_those_of_the_smaller_network(name):
    make, unit, numbers, _ = SHARED[name]
    network, x = sharing(make), images()
    anatomy = layers(network, x)
    assert cost(anatomy).parameters == sum(parameter.numel() for parameter in network.parameters())
    rates = rates_of(network, unit, numbers, x)
    small = apply(rates, network, x)
    assert rates.pruned.parameters == sum(parameter.numel() for parameter in small.parameters())


@pytest.mark.parametrize("name", SHARED)
def test_masks_of_a_shared_weight(name):
    make, unit, numbers, fallen = SHARED[name]
    network, x = sharing(make), images()
    masked = copy.deepcopy(network)
    made = to_torch_prune(rates_of(network, unit, numbers, x), masked, x)
    check(masked, network, fallen, x)
    small = made.remove()
    assert not prune.is_pruned(small)
    assert small.b.weight is small.a.weight
    check(small, network, fallen, x)


def test_shared_biases_and_batch_norms():
    network = Net(
        lambda n, x: n.c(n.m(n.a(x)).relu()) + n.d(n.n(n.b(x.flip(-1))).relu()), a=conv(3, 6),
        b=conv(3, 6), m=nn.BatchNorm2d(6), n=nn.BatchNorm2d(6), c=conv(6, 4), d=conv(6, 4),
        fc=fc(4),
    ).eval()  # fmt: skip
    network.b.weight, network.b.bias = network.a.weight, network.a.bias
    network.n.weight, network.n.running_var = network.m.weight, network.m.running_var
    x = images()
    (unit,) = (entry.name for entry in layers(network, x).units if {"a", "b"} & {entry.name})
    small = apply(rates_of(network, unit, [1, 2], x), network, x)
    check(small, network, {"c": [1, 2], "d": [1, 2]}, x)
    assert small.b.bias is small.a.bias
    assert small.n.weight is small.m.weight
    assert small.n.running_var is small.m.running_var
    assert len(small.m.weight) == 4


def test_a_module_that_never_runs_shares_what_stays():
    network = chain(conv(3, 6), nn.ReLU(), conv(6, 4), out=4).eval()
    network.unused = conv(3, 6)
    network.unused.weight = network.a.weight
    x = images()
    (unit,) = (entry.name for entry in layers(network, x).units if entry.channels == 6)
    small = apply(rates_of(network, unit, [1, 2], x), network, x)
    check(small, network, {"c": [1, 2]}, x)
    assert small.unused.weight is small.a.weight


def test_torch_pruning_in_place_cannot_share():
    network, x = sharing(two_scales), images()
    with pytest.raises(LesionError) as refusal:
        to_torch_pruning(rates_of(network, "b", [0], x), network, x)
    assert str(refusal.value) == (
        "Expected a parameter of one module, but several share a.weight, of which Torch-Pruning "
        "knows nothing; prune a copy in which they share it again (lesion apply), or hand over "
        "which filters stay (--to masks)."
    )
    assert network.b.weight is network.a.weight
    to_torch_pruning(rates_of(network, "c", [0], x), network, x).prune()  # what they do not share
    assert network.c.weight.shape[0] == 3
    assert network.b.weight is network.a.weight


# --- weights that are computed from others


class Standardised(nn.Conv2d):
    """Every filter with mean 0 and standard deviation 1, whatever its parameters are."""

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / (weight.std((1, 2, 3), keepdim=True) + 1e-5)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class Gained(nn.Conv2d):
    """A gain a filter, as normaliser-free networks have."""

    def __init__(self, *sizes, **options):
        super().__init__(*sizes, **options)
        self.gain = nn.Parameter(torch.linspace(0.5, 1.5, self.out_channels).reshape(-1, 1, 1, 1))

    def forward(self, x):
        return F.conv2d(x, self.weight * self.gain, self.bias, self.stride, self.padding)


class Framed(nn.Conv2d):
    """Standardises its filters, and puts a frame of ones round its images."""

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), value=1.0), weight, self.bias)


class Mirrored(nn.Module):
    def forward(self, weight):
        return weight + 0.5 * weight.flip(-1)


def of_kind(kind):
    return lambda layer: kind(layer.in_channels, layer.out_channels, 3, padding=1)


def registered(layer):
    return parametrize.register_parametrization(layer, "weight", Mirrored())


def masked(layer):
    prune.l1_unstructured(layer, "weight", 0.3)
    return prune.l1_unstructured(layer, "bias", 0.3)


def hooked(layer):
    """As users wrote it before torch had parametrizations."""
    layer.register_parameter("raw", layer._parameters.pop("weight"))

    def compute(module, _):
        module.weight = module.raw - module.raw.mean((1, 2, 3), keepdim=True)

    layer.register_forward_pre_hook(compute)
    compute(layer, None)
    return layer


def circular(layer):
    sizes = layer.in_channels, layer.out_channels
    return parametrizations.weight_norm(nn.Conv2d(*sizes, 3, padding=1, padding_mode="circular"))


COMPUTED = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "both": lambda layer: parametrizations.spectral_norm(parametrizations.weight_norm(layer)),
    "older_weight_norm": nn.utils.weight_norm,
    "older_spectral_norm": nn.utils.spectral_norm,
    "masks": masked,
    "registered": registered,
    "hooked": hooked,
    "circular": circular,
    "standardised": of_kind(Standardised),
    "gained": of_kind(Gained),
}
FALLEN_BEFORE = {"b": [0, 4], "c": [1], "d": [0, 4], "fc": [2]}  # zeros in what these read


def computing(kind, seed=0):
    """Every layer has a computed weight, on a residual stream (a, c) and beside it (b)."""

    def step(n, x):
        x = n.a(x).relu()
        return n.d(x + n.c(n.b(x).relu())).relu()

    torch.manual_seed(seed)
    network = Net(step, a=kind(conv(3, 6)), b=kind(conv(6, 5)), c=kind(conv(5, 6)),
                  d=kind(conv(6, 4)), fc=fc(4))  # fmt: skip
    return network.eval()


def rates_of_all(network, x):
    return allocations.by_channels(layers(network, x), {"a": [0, 4], "b": [1], "d": [2]})


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", COMPUTED)
def test_computed_weights_are_parameters_of_the_smaller_network(name, tmp_path):
    network, x = computing(COMPUTED[name]), images()
    before, kinds = copy.deepcopy(network.state_dict()), [type(part) for part in network.modules()]
    rates = rates_of_all(network, x)
    small, note = applied(rates, network, x)
    assert note == (
        "The weights of a, b, c, d are computed from others (as by weight norm); in the pruned "
        "network they are plain parameters with the values that they have now."
    )
    check(small, network, FALLEN_BEFORE, x)
    shapes = {name: tuple(value.shape) for name, value in small.named_parameters()}
    assert shapes == {
        "a.weight": (4, 3, 3, 3), "a.bias": (4,), "b.weight": (4, 4, 3, 3), "b.bias": (4,),
        "c.weight": (4, 4, 3, 3), "c.bias": (4,), "d.weight": (3, 4, 3, 3), "d.bias": (3,),
        "fc.weight": (5, 3), "fc.bias": (5,),
    }  # fmt: skip
    assert all(part.requires_grad for part in small.parameters())
    assert [type(part) for part in network.modules()] == kinds
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    save_pruned(small, rates, tmp_path / "small.safetensors")
    again = load_pruned(computing(COMPUTED[name], seed=1), tmp_path / "small.safetensors")
    assert torch.equal(again.eval()(x), small(x))
    export_pruned(small, rates, tmp_path / "small.pt2", x)
    program = torch.export.load(tmp_path / "small.pt2").module()
    assert torch.allclose(program(images(1)), small(images(1)), atol=1e-6)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", COMPUTED)
def test_exports_of_computed_weights(name):
    network, x = computing(COMPUTED[name]), images()
    rates = rates_of_all(network, x)
    state = load(export(rates, "torch-prune", network=network, example=x))
    plain = Net(network.step, a=conv(3, 6), b=conv(6, 5), c=conv(5, 6), d=conv(6, 4), fc=fc(4))
    if name == "circular":
        for layer in (plain.a, plain.b, plain.c, plain.d):
            layer.padding_mode, layer._reversed_padding_repeated_twice = "circular", [1, 1, 1, 1]
    made = to_torch_prune(rates, plain.eval(), x)
    made.network.load_state_dict(state)
    check(made.network, network, FALLEN_BEFORE, x)
    values = json.loads(export(rates, "torch-pruning", network=network, example=x))
    assert values["kept"]["a"] == [1, 2, 3, 5] and values["kept"]["b"] == [0, 2, 3, 4]
    stay = load(export(rates, "masks", anatomy=layers(network, x)))
    assert stay["d.kept"].tolist() == [0, 1, 3]


def test_the_warning_of_apply():
    network, x = computing(parametrizations.weight_norm), images()
    rates = allocations.by_channels(layers(network, x), {"b": [0, 1, 3]})
    with pytest.warns(UserWarning, match="The weights of b, c are computed from others"):
        small = apply(rates, network, x)
    assert parametrize.is_parametrized(small.a)  # which loses nothing
    assert not parametrize.is_parametrized(small.b)
    check(small, network, {"c": [0, 1, 3]}, x)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_older_hooks_of_what_loses_nothing_stay(tmp_path):
    network, x = computing(nn.utils.weight_norm), images()
    rates = allocations.by_channels(layers(network, x), {"b": [0, 1, 3]})
    small, _ = applied(rates, network, x)
    assert {name for name, _ in small.a.named_parameters()} == {"weight_g", "weight_v", "bias"}
    check(small, network, {"c": [0, 1, 3]}, x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch remarks on attributes that such hooks set
        export_pruned(small, rates, tmp_path / "small.pt2", x)
    program = torch.export.load(tmp_path / "small.pt2").module()
    assert torch.allclose(program(images(1)), small(images(1)), atol=1e-6)


def test_what_is_frozen_or_in_training_stays_so():
    network, x = computing(parametrizations.weight_norm), images()
    network.a.requires_grad_(False)
    network.train()
    network.b.eval()
    small, _ = applied(rates_of_all(network, x), network, x)
    assert not small.a.weight.requires_grad and not small.a.bias.requires_grad
    assert small.c.weight.requires_grad
    assert (small.training, small.a.training, small.b.training) == (True, True, False)


def test_a_computed_weight_that_modules_share():
    network = sharing(two_scales)
    shared = network.a.weight
    parametrizations.weight_norm(network.a)
    parametrizations.weight_norm(network.b)
    for part in ("original0", "original1"):
        setattr(network.b.parametrizations.weight, part,
                getattr(network.a.parametrizations.weight, part))  # fmt: skip
    x = images()
    (unit,) = (entry.name for entry in layers(network, x).units if {"a", "b"} & {entry.name})
    small, _ = applied(rates_of(network, unit, [0, 2], x), network, x)
    check(small, network, {"c": [0, 2], "d": [0, 2]}, x)
    assert small.b.weight is small.a.weight
    assert small.a.weight.shape[0] == shared.shape[0] - 2


def test_a_layer_that_does_more_with_images_is_refused_by_its_name():
    torch.manual_seed(0)
    network = chain(parametrizations.weight_norm(conv(3, 6)), nn.ReLU(), Framed(6, 5, 3),
                    nn.ReLU(), conv(5, 4), out=4).eval()  # fmt: skip
    x = images()
    for given in (rates_of(network, "c", [1], x), rates_of(network, "a", [1], x)):
        with pytest.raises(LesionError) as refusal:
            applied(given, network, x)
        assert str(refusal.value) == (
            "Expected weights that are parameters, but that of c is computed from others at every "
            "pass; make it a parameter (remove_parametrizations or prune.remove of torch.nn.utils) "
            "and sweep that network, or hand over which filters stay (--to masks)."
        )


def test_a_layer_with_sizes_of_its_own_is_refused():
    class Strided(nn.Conv2d):
        def forward(self, x):  # whatever its stride is said to be
            return F.conv2d(x, self.weight * 2.0, self.bias, 2, self.padding)

    torch.manual_seed(0)
    network = chain(Strided(3, 6, 3, padding=1), nn.ReLU(), conv(6, 4), out=4).eval()
    x = images()
    with pytest.raises(LesionError, match="that of a is computed from others at every pass"):
        applied(rates_of(network, "a", [1], x), network, x)


def test_costs_of_computed_weights_fall_with_their_channels():
    """A gain a filter and the directions of weight norm; the matrix of spectral norm."""
    torch.manual_seed(0)
    network = chain(parametrizations.weight_norm(conv(3, 6)), nn.ReLU(),
                    parametrizations.spectral_norm(conv(6, 4)), out=4).eval()  # fmt: skip
    anatomy = layers(network, images())
    assert cost(anatomy).parameters == sum(parameter.numel() for parameter in network.parameters())
    rates = allocations.by_channels(anatomy, {"a": [0, 3], "c": [1]})
    kept = 4 * (1 + 3 * 9 + 1) + 3 * (4 * 9 + 1) + 5 * (3 + 1)
    assert rates.pruned.parameters == kept
