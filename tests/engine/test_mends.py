"""Mending without training: against a direct solve, by planted answers, and as it is measured."""

import copy

import networks
import numpy as np
import pytest
import torch
from slicing import shrink
from torch import nn
from torch.func import functional_call
from torch.utils.data import TensorDataset

from lesion.engine import mend
from lesion.engine.base import Cut
from lesion.engine.recovery import parse
from lesion.lesions.lesion import Joint
from lesion.lesions.mended_edit import Mended
from lesion.subject.subject import Subject
from lesion.sweeps.workers import Opening

COUNT = 96


@pytest.fixture(autouse=True)
def every_position(monkeypatch):
    """All positions of all images are rows, as in the direct solves."""
    monkeypatch.setattr(mend, "MOST", 10**6)


class Chain(nn.Module):
    """A maker "a", what stands between, and a consumer "b" whose numbers are the outputs."""

    def __init__(self, a, b, between=None, flat=False):
        super().__init__()
        self.a, self.b, self.between, self.flat = a, b, between or nn.ReLU(), flat

    def forward(self, x):
        x = self.between(self.a(x))
        y = self.b(x.flatten(1) if self.flat else x)
        return torch.tanh(y).flatten(1)[:, :3]


KINDS = {
    "conv2d": (lambda: Chain(nn.Conv2d(2, 6, 3), nn.Conv2d(6, 4, 3, stride=2, padding=1)), 2, 7),
    "dilated": (lambda: Chain(nn.Conv2d(2, 6, 3), nn.Conv2d(6, 4, (3, 2), dilation=2)), 2, 9),
    "same": (lambda: Chain(nn.Conv2d(2, 6, 3), nn.Conv2d(6, 3, 4, padding="same")), 2, 7),
    "grouped": (
        lambda: Chain(nn.Conv2d(2, 6, 3, groups=2), nn.Conv2d(6, 4, 3, groups=2)), 2, 7,
    ),
    "depthwise chain": (
        lambda: Chain(
            nn.Conv2d(2, 6, 1), nn.Conv2d(6, 4, 1),
            nn.Sequential(nn.ReLU6(), nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.ReLU6()),
        ), 2, 5,
    ),
    "transposed": (
        lambda: Chain(nn.Conv2d(2, 6, 3), nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1)), 2, 6,
    ),
    "transposed, grouped": (
        lambda: Chain(
            nn.Conv2d(2, 6, 3, groups=2),
            nn.ConvTranspose2d(6, 4, 3, stride=2, output_padding=1, groups=2),
        ), 2, 5,
    ),
    "conv1d": (lambda: Chain(nn.Conv1d(2, 6, 3), nn.Conv1d(6, 4, 5, padding=2)), 1, 12),
    "conv3d": (lambda: Chain(nn.Conv3d(2, 4, 2), nn.Conv3d(4, 3, 2)), 3, 5),
    "linear": (lambda: Chain(nn.Linear(8, 10), nn.Linear(10, 4)), 0, 8),
}  # fmt: skip


def subject_of(network, dims, size, dtype=torch.float64, count=COUNT):
    """Random images for a network, to be scored and to mend by."""
    numbers = torch.Generator().manual_seed(1)
    shape = (2, *[size] * dims) if dims else (size,)
    scored, train = (
        TensorDataset(
            torch.randn(number, *shape, generator=numbers, dtype=dtype),
            torch.randint(0, 3, (number,), generator=numbers),
        )
        for number in (8, count)
    )
    return Subject.of(network, scored, train=train)


def opened(kind, recover, seed=0):
    make, dims, size = KINDS[kind]
    torch.manual_seed(seed)
    network = make().double().eval()
    return Opening(subject_of(network, dims, size), recover)()


def removal(worker, unit="a", gone=(0, 2)):
    """The edit that removes some channels of a unit, and its name."""
    anatomy = worker.dissection.anatomy
    dropped = np.zeros(anatomy.channels, bool)
    dropped[[anatomy.unit[unit].first + number for number in gone]] = True
    joint = Joint((unit,), 0)
    return joint, worker.engine.edit(joint.at, dropped), dropped


def scored(worker):
    """The images that are scored, with their labels, as the engine takes them."""
    return worker.dissection.call.tensors(worker.subject.images.batch(range(8)))


def train_images(worker):
    """The images that mend, in the order in which they are read."""
    images = worker.engine.mending.images
    batches = [tensors[0] for tensors in images.batches(0, 64, 10_000)]
    return torch.cat(batches)


def consumer_io(network, x, change=None):
    """What "b" reads, and what it makes, of a network with a changed input to "b"."""
    seen = {}

    def hook(module, inputs, output):
        seen["x"], seen["y"] = inputs[0].detach(), output.detach()

    handle = network.b.register_forward_hook(hook)
    with torch.no_grad():
        network(x)
    handle.remove()
    return seen["x"], seen["y"]


def direct(network, x, gone, ridge=0.0):
    """The least squares of what "b" makes of the channels that stay, by its Jacobian in numpy."""
    read, target = consumer_io(network, x)
    stay = read.clone()
    axis = -1 if isinstance(network.b, nn.Linear) else 1
    index = [slice(None)] * read.dim()
    index[axis] = list(gone)
    stay[tuple(index)] = 0
    weights = {name: value.detach() for name, value in network.b.named_parameters()}

    def outputs(weight, bias):
        return functional_call(network.b, {"weight": weight, "bias": bias}, (stay,))

    parts = torch.autograd.functional.jacobian(outputs, (weights["weight"], weights["bias"]))
    design = torch.cat([part.reshape(target.numel(), -1) for part in parts], 1)
    solution = np.linalg.lstsq(design.numpy(), target.flatten().numpy(), rcond=None)[0]
    residual = target.flatten().numpy() - design.numpy() @ solution
    before = (target - outputs(weights["weight"], weights["bias"])).flatten().numpy()
    return solution, residual, before, design.numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_least_squares_equal_a_direct_solve(kind):
    """Of every kind of consumer; residuals are orthogonal to what is kept, and never larger."""
    worker = opened(kind, f"reconstruct:{COUNT},ridge=0")
    name, edit, _ = removal(worker)
    network, x = worker.subject.network, train_images(worker)
    mended = worker.engine.mended({name: edit})[name]
    gone = (0, 2)
    solution, residual, before, design = direct(network, x, gone)
    small = copy.deepcopy(network)
    mended.hold(worker.engine.mending.images.consumers.readers, small)
    fitted = torch.cat([small.b.weight.detach().flatten(), small.b.bias.detach()]).numpy()
    left = design @ solution + residual - design @ fitted
    assert np.abs(design @ (fitted - solution)).max() < 1e-8
    assert (left**2).sum() <= (before**2).sum()
    assert np.abs(design.T @ left).max() < 1e-6 * np.abs(design).sum(0).max()


@pytest.mark.parametrize("kind", KINDS)
def test_all_kept_leaves_the_weights(kind):
    worker = opened(kind, f"reconstruct:{COUNT},bias:{COUNT}")
    name, edit, _ = removal(worker, gone=())
    mended = worker.engine.mended({name: edit})[name]
    for parameter, value in mended.parameters.items():
        held = worker.dissection.graph.parameters[parameter]
        assert torch.allclose(value, held, atol=1e-12)


@pytest.mark.parametrize("recover", [f"reconstruct:{COUNT},ridge=1e-12", f"fold:{COUNT}"])
@pytest.mark.parametrize("kind", ["conv2d", "transposed", "conv1d", "linear", "depthwise chain"])
def test_what_is_doubled_can_fall(kind, recover):
    """Channel 2 is channel 1, or twice of it: without it nothing is missing any more."""
    make, dims, size = KINDS[kind]
    torch.manual_seed(0)
    network = make().double().eval()
    with torch.no_grad():
        network.a.weight[2], network.a.bias[2] = network.a.weight[1], network.a.bias[1]
        for layer in network.between if isinstance(network.between, nn.Sequential) else ():
            if isinstance(layer, nn.Conv2d):
                layer.weight[2], layer.bias[2] = layer.weight[1], layer.bias[1]
    worker = Opening(subject_of(network, dims, size), recover)()
    name, edit, _ = removal(worker, gone=(2,))
    tensors = scored(worker)
    ((_, outputs), (_, intact)) = worker.engine.run(tensors, {name: Cut(edit)}, True)
    assert torch.allclose(outputs, intact, atol=1e-6)
    ((_, cut),) = worker.engine.base.run(tensors, {name: Cut(edit)}, False)
    assert not torch.allclose(cut, intact, atol=1e-2), "the case tells nothing"


def test_a_constant_goes_into_the_bias():
    """Filter 2 gives 1.5 whatever it sees; without padding nothing is missing any more."""
    torch.manual_seed(0)
    network = Chain(nn.Conv2d(2, 6, 3), nn.Conv2d(6, 4, 3)).double().eval()
    with torch.no_grad():
        network.a.weight[2], network.a.bias[2] = 0, 1.5
    worker = Opening(subject_of(network, 2, 7), f"bias:{COUNT}")()
    name, edit, _ = removal(worker, gone=(2,))
    tensors = scored(worker)
    ((_, outputs), (_, intact)) = worker.engine.run(tensors, {name: Cut(edit)}, True)
    assert torch.allclose(outputs, intact, atol=1e-12)
    mended = worker.engine.mended({name: edit})[name]
    expected = network.b.bias + 1.5 * network.b.weight[:, 2].sum((1, 2))
    assert torch.allclose(mended.parameters["b.bias"], expected, atol=1e-12)


def test_a_constant_counts_as_its_mean_over_positions_where_zeros_are_padded():
    """A constant 2 through a 3×3 of ones on 4×4 with padding: 8, 12 and 18, on average 12.5."""
    network = Chain(nn.Conv2d(2, 2, 1), nn.Conv2d(2, 1, 3, padding=1)).double().eval()
    network.forward = lambda x: network.b(torch.relu(network.a(x))).flatten(1)[:, :3]
    with torch.no_grad():
        network.a.weight[1], network.a.bias[1] = 0, 2.0
        network.b.weight[:, 1] = 1.0
    worker = Opening(subject_of(network, 2, 4), f"bias:{COUNT}")()
    name, edit, _ = removal(worker, gone=(1,))
    mended = worker.engine.mended({name: edit})[name]
    mean = (4 * 8 + 8 * 12 + 4 * 18) / 16
    assert mended.parameters["b.bias"].item() == pytest.approx(network.b.bias.item() + mean)


class Residual(nn.Module):
    """A stream that two layers make and two read, with batch norms."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.a, self.na = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.b, self.nb = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.c, self.nc = nn.Conv2d(8, 6, 3, bias=False), nn.BatchNorm2d(6)
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(x + self.nb(self.b(torch.relu(self.na(self.a(x))))))
        return self.fc(torch.relu(self.nc(self.c(x))).mean((2, 3)))


def residual(recover, dtype=torch.float64, count=400, seed=0):
    torch.manual_seed(seed)
    network = Residual()
    networks.spread(network, torch.randn(64, 2, 6, 6))
    return Opening(subject_of(network.to(dtype).eval(), 2, 6, dtype, count), recover)()


@pytest.mark.parametrize("recover", ["bias", "reconstruct", "fold", "bn", "reconstruct,bn"])
@pytest.mark.parametrize("unit", ["a", "stem", "c"])
def test_a_mended_copy_gives_what_is_measured(recover, unit):
    """By replay, by a whole pass with other weights, and of the physically smaller network."""
    worker = residual(recover)
    names = {unit.name for unit in worker.dissection.anatomy.units}
    unit = next(name for name in names if unit in name.split(" + ") or name.startswith(unit))
    name, edit, dropped = removal(worker, unit, (0, 3, 5))
    tensors = scored(worker)
    ((_, measured),) = worker.engine.run(tensors, {name: Cut(edit)}, False)
    mended = worker.engine.mended({name: edit})[name]
    held = copy.deepcopy(worker.subject.network)
    mended.hold(worker.engine.mending.images.consumers.readers, held)
    with torch.no_grad():
        assert torch.allclose(held(tensors[0]), measured, atol=1e-10)
    small = copy.deepcopy(worker.subject.network)
    state = {**small.state_dict(), **mended.parameters}
    small.load_state_dict(state)
    with torch.no_grad():
        shrunk = shrink(small, worker.dissection.anatomy, dropped)
        assert torch.allclose(shrunk(tensors[0]), measured, atol=1e-10)


class Sharing(nn.Module):
    """Two layers behind "a" share a batch norm, and two share a bias: no constant is theirs."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(2, 8, 3)
        self.b, self.c = (nn.Conv2d(8, 6, 3, bias=False) for _ in range(2))
        self.norm = nn.BatchNorm2d(6)
        self.d, self.e = (nn.Conv2d(8, 6, 1) for _ in range(2))
        self.e.bias = self.d.bias
        self.fc = nn.Linear(12, 3)

    def forward(self, x):
        x = torch.relu(self.a(x))
        both = torch.relu(self.norm(self.b(x))) + torch.relu(self.norm(self.c(x * 0.5)))
        other = self.d(x) * torch.sigmoid(self.e(x))
        return self.fc(torch.cat([both.mean((2, 3)), other.mean((2, 3))], 1))


def test_a_constant_that_nothing_takes_is_a_reason():
    worker = Opening(subject_of(Sharing().double().eval(), 2, 6), "bias")()
    _, edit, _ = removal(worker, "a", (0, 3, 5))
    assert worker.engine.hindrance(edit) == (
        "no layer behind it has a bias, or a batch norm, of its own for the constant"
    )


@pytest.mark.parametrize("recover", ["reconstruct", "fold", "bn"])
def test_what_others_use_too_stays(recover):
    torch.manual_seed(0)
    network = Sharing().double().eval()
    worker = Opening(subject_of(network, 2, 6, count=400), recover)()
    name, edit, _ = removal(worker, "a", (0, 3, 5))
    mended = worker.engine.mended({name: edit})[name]
    held = copy.deepcopy(network)
    mended.hold(worker.engine.mending.images.consumers.readers, held)
    tensors = scored(worker)
    ((_, measured),) = worker.engine.run(tensors, {name: Cut(edit)}, False)
    with torch.no_grad():
        assert torch.allclose(held(tensors[0]), measured, atol=1e-10)
    changed = {
        name for name, value in mended.parameters.items()
        if not torch.equal(value, network.state_dict()[name])
    }  # fmt: skip
    weights = {f"{layer}.weight" for layer in "bcde"}
    statistics = {"norm.running_mean", "norm.running_var"}
    assert changed == {"bn": statistics}.get(recover, weights)


def test_batch_norms_that_an_edit_reaches_are_estimated_anew():
    """As in training mode, on the copy that is cut: the others stay as they were."""
    worker = residual("bn", count=300)
    name, edit, _ = removal(worker, "a", (0, 3))
    mended = worker.engine.mended({name: edit})[name]
    network = copy.deepcopy(worker.subject.network)
    edit.hold(worker.engine.mending.images.consumers.readers, network)
    for norm in (network.nb, network.nc):
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        for tensors in worker.engine.mending.images.batches(0, 125, 2000):
            network(tensors[0])
    reached = {f"{norm}.running_{what}" for norm in ("nb", "nc") for what in ("mean", "var")}
    assert set(mended.parameters) == reached
    for parameter in reached:
        assert torch.allclose(mended.parameters[parameter], network.state_dict()[parameter])


def test_consumers_in_order_of_depth_see_what_is_mended_before_them():
    """A stream is gone in part: each of its readers is fitted to what the cut network gives it."""
    worker = residual("reconstruct:384,ridge=0", count=400)
    unit = next(u.name for u in worker.dissection.anatomy.units if u.kind == "coupled")
    name, edit, _ = removal(worker, unit, (1, 4))
    mended = worker.engine.mended({name: edit})[name]
    images, network = worker.engine.mending.images, worker.subject.network
    x = torch.cat([tensors[0] for tensors in images.batches(0, 64, 384)])
    for layer, before in (("a", ()), ("c", ("a",))):
        cut = copy.deepcopy(network)
        known = {
            parameter: value
            for parameter, value in mended.parameters.items()
            if parameter.partition(".")[0] in before
            or parameter.startswith(tuple(f"n{name}." for name in before))
        }
        Mended(edit, known).hold(images.consumers.readers, cut)
        (_, target), (stay, _) = (_at(net, layer, x) for net in (network, cut))
        stay[:, [1, 4]] = 0
        weight = mended.parameters[f"{layer}.weight"]
        shift = (
            network.get_submodule(f"n{layer}").running_mean
            - mended.parameters[f"n{layer}.running_mean"]
        )
        module = copy.deepcopy(network.get_submodule(layer))
        module.weight.data = weight
        left = target - module(stay).detach() - shift[:, None, None]
        columns = nn.functional.unfold(stay, 3, padding=module.padding)
        ones = torch.ones_like(columns[:, :1])
        rows = torch.cat([columns, ones], 1).transpose(1, 2).flatten(0, 1)
        missing = left.flatten(2).transpose(1, 2).flatten(0, 1)
        assert (rows.T @ missing).abs().max() < 1e-6 * rows.abs().sum(0).max()


def _at(network, layer, x):
    seen = []
    handle = network.get_submodule(layer).register_forward_hook(
        lambda module, inputs, output: seen.append((inputs[0].detach().clone(), output.detach()))
    )
    with torch.no_grad():
        network(x)
    handle.remove()
    return seen[0]


def test_too_few_rows_are_refused_with_the_number_needed():
    """Of 4 channels with 9 weights each, and a constant, 37 unknowns; 2·2 positions an image."""
    make, dims, size = KINDS["conv2d"]
    worker = Opening(subject_of(make().double().eval(), dims, size, count=20), "reconstruct")()
    _, edit, _ = removal(worker)
    why = worker.engine.hindrance(edit)
    assert why == (
        "20 training images give 180 rows to fit b.weight by, and it needs 185, of 21 images"
    )


def test_some_positions_of_many_images_do(monkeypatch):
    """A hundred rows an unknown: nearly what all of them give, and the same at every call."""
    kind = "conv2d"
    make, dims, _ = KINDS[kind]
    torch.manual_seed(0)
    network = make().double().eval()
    changes = []
    for most in (10**6, 100, 100):
        monkeypatch.setattr(mend, "MOST", most)
        worker = Opening(subject_of(network, dims, 20, count=256), "reconstruct")()
        name, edit, _ = removal(worker)
        mended = worker.engine.mended({name: edit})[name]
        changes.append(mended.parameters["b.weight"] - network.b.weight.detach())
    whole, some, again = changes
    assert torch.equal(some, again) and not torch.equal(some, whole)
    assert (some - whole).norm() < 0.2 * whole.norm()


def test_values_are_kept_or_computed_again_alike(monkeypatch):
    worker = residual("reconstruct")
    unit = next(u.name for u in worker.dissection.anatomy.units if u.kind == "coupled")
    name, edit, _ = removal(worker, unit, (1, 4))
    kept = worker.engine.mended({name: edit})[name]
    again = residual("reconstruct")
    object.__setattr__(again.engine.mending.images, "room", 0)
    name, edit, _ = removal(again, unit, (1, 4))
    for parameter, value in again.engine.mended({name: edit})[name].parameters.items():
        assert torch.allclose(value, kept.parameters[parameter], atol=1e-12)


def test_one_by_one_is_the_same_as_together():
    """What single removals of one layer share is collected once for all."""
    worker = residual("reconstruct,bn")
    edits = {}
    for number, gone in enumerate([(0,), (1, 2), (0, 1, 2, 3)]):
        _, edit, _ = removal(worker, "a", gone)
        edits[Joint(("a",), number)] = edit
    together = worker.engine.mended(edits)
    for name, edit in edits.items():
        alone = residual("reconstruct,bn").engine.mended({name: edit})[name]
        for parameter, value in alone.parameters.items():
            assert torch.allclose(value, together[name].parameters[parameter], atol=1e-12)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("reconstruct", "reconstruct"),
        ("reconstruct:512,bn", "reconstruct:512,bn"),
        ("reconstruct:1024,ridge=1e-4", "reconstruct"),
        ("bias,bn", "bias,bn"),
        ("fold:0064", "fold:64"),
        ("reconstruct,finetune:9,lr=0.1", "reconstruct,finetune:9,lr=0.1"),
    ],
)
def test_names(text, name):
    assert parse(text).name == name
