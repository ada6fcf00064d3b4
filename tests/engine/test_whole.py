"""Networks that no trace stands for: whole passes with hooks, exact or with a reason."""

import copy

import networks
import numpy as np
import plain_loop
import pytest
import torch
from cutting import cut
from torch import nn
from torch.nn import functional as F

from lesion.engine.whole import Whole
from lesion.errors import SubjectError
from lesion.lesions.lesion import Lesion
from lesion.network.dissect import dissect
from lesion.sweeps.sweep import sweep
from lesion.sweeps.whole_network import evaluate


def whole(network, data):
    """An engine of whole passes."""
    with torch.no_grad():
        return Whole(dissect(network, lambda net, x: net(x), data.tensors[0][:2]))


def lesion(engine, unit, count):
    """A lesion of a unit's first channels, and the labels that fall."""
    record = engine.dissection.anatomy.unit[unit]
    gone = np.zeros(engine.dissection.anatomy.channels, bool)
    gone[record.first : record.first + count] = True
    return Lesion(unit, record.kind, "l1", 0.5, count, record.channels), gone


def obstacle(engine, unit):
    """Why a unit cannot be cut."""
    cut, gone = lesion(engine, unit, 1)
    return engine.obstacle(engine.edit(cut.at, gone))


def test_it_says_so_and_equals_the_plain_loop(tmp_path):
    network, data = networks.plain(40, kind=networks.Wayward)
    with sweep(network, data, tmp_path / "s", units="all", holdout=0, full=True) as study:
        assert study.anatomy.whole.startswith("torch.export cannot trace it (")
        assert len(study.lesions) == 18 and not study.failed
        images = data.tensors[0][list(study.header.order)]
        own = plain_loop.logits(network, images).argmax(1)
        moved = 0
        for one in study.lesions:
            filters = plain_loop.lowest(network, one.target, one.pruned)
            zeros = plain_loop.along(network, one.target, filters)
            agree = (plain_loop.logits(network, images, zeros).argmax(1) == own).numpy()
            assert np.array_equal(study.outcomes(one)["agreement"], agree)
            moved += int((~agree).sum())
        assert moved > 40


def test_replay_and_whole_passes_agree():
    network, data = networks.plain(8)
    engine = whole(network, data)
    chosen = [None, np.array([0, 3, 7]), np.array([5]), None]
    planned = [lesion(engine, unit, count) for unit in "ab" for count in (1, 4)]
    cuts = {
        one: cut(engine, one, gone, rows)
        for (one, gone), rows in zip(planned, chosen, strict=True)
    }  # fmt: skip
    with torch.no_grad():
        found = dict(engine.run((data.tensors[0],), cuts))
        assert set(engine.run((data.tensors[0],), {}, intact=False)) == set()
    for one, cutting in cuts.items():
        zeros = plain_loop.along(network, one.target, np.arange(one.pruned))
        want = plain_loop.logits(network, data.tensors[0], zeros)
        own = slice(None) if cutting.rows is None else cutting.rows
        assert torch.allclose(found[one], want[own], atol=1e-5)
    assert torch.allclose(found[None], plain_loop.logits(network, data.tensors[0]), atol=1e-5)


class WithSums(networks.Wayward):
    """A sum, a normalisation over channels, and a layer called twice."""

    def __init__(self):
        super().__init__()
        self.c, self.d = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.e, self.layernorm = nn.Conv2d(8, 6, 1), nn.LayerNorm(6)
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        bright = float(x.max()) > -1e9
        x = torch.relu(self.norm(self.a(x)))
        x = self.b(x) + self.c(self.d(x))[:, :, :3, :3]
        x = self.d(torch.relu(x)) if bright else x
        return self.last(self.layernorm(self.e(x).mean((2, 3))))


def test_what_hooks_cannot_cut_has_a_reason(tmp_path):
    network, data = networks.plain(20, kind=WithSums)
    with sweep(
        network, data, tmp_path / "s", units="all", ratios=(0.5,), holdout=0, full=True
    ) as study:
        reasons = {(one.target, one.kind): one.reason for one in study.skipped}
        measured = {one.target for one in study.lesions}
    for target, where in ((("e", "free"), "layer_norm"), (("b", "branch"), "add")):
        assert reasons[target].startswith("the network cannot be traced (torch.export")
        assert reasons[target].endswith(f"and hooks cannot cut its channels at {where}")
    assert "e" not in measured and "b" not in measured


class Functional(networks.Wayward):
    """Reads the channels of "a" through a function, where no hook is asked."""

    def forward(self, x):
        bright = float(x.max()) > -1e9
        x = torch.relu(self.norm(self.a(x)))
        x = 2 * x if bright else x
        x = nn.functional.conv2d(x, self.b.weight, self.b.bias, stride=2)
        return self.fc(torch.relu(x).mean((2, 3)))


def test_a_layer_used_as_a_function_has_a_reason():
    network, data = networks.plain(20, kind=Functional)
    engine = whole(network, data)
    assert obstacle(engine, "a").endswith("hooks cannot cut its channels at b")
    assert obstacle(engine, "b") == ""


class Choosing(networks.Plain):
    """Other images, another layer."""

    def __init__(self):
        super().__init__()
        self.other = nn.Conv2d(8, 8, 3, stride=2)

    def forward(self, x):
        first = torch.relu(self.norm(self.a(x)))
        second = self.b(first) if float(x.max()) < 50 else self.other(first)
        return self.fc(torch.relu(second).mean((2, 3)))


def test_another_path_than_the_first_images_took_is_refused(tmp_path):
    network, data = networks.plain(40, kind=Choosing)
    sweep(network, data, tmp_path / "a", ratios=(0.5,), holdout=0, full=True).close()
    data.tensors[0][30] += 100
    with pytest.raises(SubjectError, match="Expected a network that runs the same layers on all"):
        sweep(network, data, tmp_path / "b", ratios=(0.5,), holdout=0, full=True)
    assert not any(module._forward_pre_hooks for module in network.modules())


# --- what a module does before its own operation


class Normalising(nn.Conv2d):
    def forward(self, x):
        spread = x.std((2, 3), keepdim=True) + 0.1
        return super().forward((x - x.mean((2, 3), keepdim=True)) / spread + 0.5)


class PaddedWithOnes(nn.Conv2d):
    def forward(self, x):
        return super().forward(F.pad(x, (1, 1, 1, 1), value=1.0))


class Squashing(nn.Conv2d):
    def forward(self, x):
        return super().forward(torch.sigmoid(x))


class Nested(nn.Module):
    def __init__(self, *shape, **how):
        super().__init__()
        self.inner = Squashing(*shape, **how)

    @property
    def weight(self):
        return self.inner.weight

    def forward(self, x):
        return self.inner(x + 1)


class WithCoordinates(nn.Conv2d):
    """Two channels more: where a pixel lies."""

    def __init__(self, channels_in, *rest, **how):
        super().__init__(channels_in + 2, *rest, **how)

    def forward(self, x):
        height, width = (torch.linspace(-1, 1, size) for size in x.shape[2:])
        grid = torch.stack(torch.meshgrid(height, width, indexing="ij"))
        return super().forward(torch.cat([x, grid.expand(len(x), -1, -1, -1)], 1))


class ReadTwice(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) + super().forward(x.flip(-1).square())


class Keyword(nn.Conv2d):
    def forward(self, *, input):
        return super().forward(input)


class Scaled(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) / self.weight.norm()


class WithReader(networks.Wayward):
    """`b` does something to what it reads before it convolves it."""

    reader: type[nn.Module] = nn.Conv2d

    def __init__(self):
        super().__init__()
        self.b = self.reader(8, 8, 3, stride=2)

    def forward(self, x):
        bright = float(x.max()) > -1e9
        x = torch.relu(self.norm(self.a(x)))
        x = 2 * x if bright else x
        x = self.b(input=x) if isinstance(self.b, Keyword) else self.b(x)
        return self.fc(torch.relu(x).mean((2, 3)))


def with_reader(reader):
    """A network with that reader, and images, half of whose answers are its own."""
    kind = type("WithReader", (WithReader,), {"reader": reader})
    return networks.plain(64, kind=kind)


def by_hand(network, images, count):
    """The answers with zeros in the columns that read the channels of `a` of the smallest norms."""
    other = copy.deepcopy(network)
    with torch.no_grad():
        other.b.weight[:, torch.from_numpy(plain_loop.lowest(network, "a", count))] = 0
        return other(images).argmax(1)


READERS = (
    Normalising, PaddedWithOnes, Squashing, Nested, WithCoordinates, ReadTwice, Keyword,
)  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
def test_channels_are_cut_where_the_operation_reads_them(reader, tmp_path):
    network, data = with_reader(reader)
    images = data.tensors[0]
    options = {"ratios": (0.5,), "layers": ("a",)}
    with torch.no_grad():
        answers = network(images).argmax(1)
    agree = (by_hand(network, images, 4) == answers).numpy()
    with sweep(network, data, tmp_path / "s", full=True, holdout=0, **options) as study:
        assert study.anatomy.whole
        (lesion,) = study.lesions
        assert np.array_equal(study.outcomes(lesion)["agreement"], agree[list(study.header.order)])
    assert 0 < agree.mean() < 1

    def share(given):
        with torch.no_grad():
            return float((given(images).argmax(1) == answers).double().mean())

    with evaluate(network, share, tmp_path / "w", images[:2], **options) as study:
        assert study.evaluations == {None: 1.0, lesion: agree.mean()}


def test_a_weight_that_is_read_for_more_than_its_operation_has_a_reason():
    engine = whole(*with_reader(Scaled))
    assert obstacle(engine, "a").endswith("hooks cannot cut its channels at b")
    assert obstacle(engine, "b") == ""


class Tied(networks.Wayward):
    """Two layers that share a weight."""

    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(8, 8, 3)
        self.c.weight = self.b.weight
        self.b.stride = (1, 1)

    def forward(self, x):
        bright = float(x.max()) > -1e9
        x = torch.relu(self.norm(self.a(x)))
        x = self.c(torch.relu(self.b(2 * x if bright else x)))
        return self.fc(torch.relu(x).mean((2, 3)))


def test_tied_weights_of_a_network_without_a_trace(tmp_path):
    """`a` and what the shared weight makes fall together, as the weight reads both."""
    network, data = networks.plain(40, kind=Tied)
    images, labels = data.tensors
    options = {"full": True, "holdout": 0, "units": "all", "ratios": (0.5,)}
    with sweep(network, data, tmp_path / "s", **options) as study:
        (lesion,) = [one for one in study.lesions if one.kind != "branch"]
        scores = study.scores(lesion.target, lesion.kind, "l1", 0)
        right = study.outcomes(lesion)["top1"][np.argsort(study.header.order)]
    gone = torch.from_numpy(np.argsort(scores, kind="stable")[:4].copy())
    with torch.no_grad():
        for layer in (network.b, network.fc):
            layer.weight[:, gone] = 0
        assert np.array_equal(right, (network(images).argmax(1) == labels).numpy())


def test_what_a_copy_has_lost_stays_lost_whatever_training_does_to_it():
    network, data = networks.plain(8)
    engine = whole(network, data)
    lost, gone = lesion(engine, "a", 4)
    other = copy.deepcopy(network)
    call = copy.copy(engine.call)
    call.network = other
    engine.edited(call, engine.edit(lost.at, gone))
    images, optimiser = data.tensors[0], torch.optim.SGD(other.parameters(), 1e-3, momentum=0.9)
    for trained in (other, copy.deepcopy(other)):
        for _ in range(3):
            trained(images).square().mean().backward()
            optimiser.step()
        nn.init.ones_(trained.b.weight)
        with torch.no_grad():
            want = trained(images)
            trained.norm.bias[:4] += 100
            assert torch.equal(trained(images), want) and want.isfinite().all()


@pytest.mark.parametrize("way", ["data", "numpy", "tolist"])
def test_a_gate_that_leaves_torch_on_its_way_ties_what_runs_before(way):
    """By hand: the last channel of `a` scales the others, so that none of them falls alone."""

    def gate(y):
        if way == "data":
            return torch.sigmoid(y[:, 4:].data)
        if way == "numpy":
            return torch.from_numpy(y[:, 4:].detach().numpy().copy())
        return torch.tensor(y[:, 4].mean((1, 2)).tolist()).reshape(-1, 1, 1, 1)

    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.fc = nn.Conv2d(3, 5, 3), nn.Conv2d(4, 6, 3), nn.Linear(6, 4)

        def forward(self, x):
            y = self.a(x)
            y = y[:, :4] * gate(y) * torch.tensor([1.0, 0.5, 2.0, 1.0]).reshape(-1, 1, 1)
            y = self.b(y) if float(x.sum()) > -1e9 else -self.b(y)
            return self.fc(y.relu().mean((2, 3)))

    torch.manual_seed(0)
    for images in (torch.randn(3, 3, 8, 8), torch.zeros(2, 3, 8, 8)):
        with torch.no_grad():
            anatomy = dissect(Gated().eval(), lambda net, x: net(x), images).anatomy
        kinds = {unit.name: unit.kind for unit in anatomy.units}
        assert anatomy.whole
        assert kinds == {"a": "tied", "b": "free", "fc": "tied"}
        assert "leave torch" in anatomy.unit["a"].reason


def test_what_runs_under_vmap_ties_the_layers_before():
    class Mapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.fc = nn.Conv2d(3, 5, 3), nn.Linear(6, 4)
            self.w = nn.Parameter(torch.randn(6, 5))

        def forward(self, x):
            y = self.a(x).relu().mean((2, 3))
            return self.fc(torch.vmap(lambda row: torch.relu(self.w @ row))(y))

    with torch.no_grad():
        anatomy = dissect(Mapped().eval(), lambda net, x: net(x), torch.randn(3, 3, 8, 8)).anatomy
    assert anatomy.unit["a"].kind == "tied"
