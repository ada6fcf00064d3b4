"""Dissection leaves a network as it was: all that its forward can reach, not its weights alone."""

import collections
import functools
import random
import types

import networks
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from lesion import LesionError, layers
from lesion.network import dissect
from lesion.subject.snapshot import unchanged

TABLES: dict = {}
LAST = None


@functools.lru_cache
def positions(size: int) -> Tensor:
    return torch.linspace(0, 1, size)


def table(size: int) -> Tensor:
    if size not in TABLES:
        TABLES[size] = torch.arange(size) / size
    return TABLES[size]


class Anchors:
    """A helper that is no module, with slots and a list."""

    __slots__ = ("grids", "size")

    def __init__(self) -> None:
        self.grids, self.size = [None, None], None

    def __call__(self, x: Tensor) -> Tensor:
        if self.size != x.shape[2:]:
            self.size = x.shape[2:]
            self.grids[0] = torch.ones(x.shape[2:])
        return x * self.grids[0]


def remembering(keep: list) -> object:
    def step(x: Tensor) -> Tensor:
        keep.append(x)
        return x + len(keep) * 0

    return step


class Building(networks.Plain):
    """Builds all that it needs when it first runs, and remembers what it saw last."""

    shared: dict = {}  # noqa: RUF012
    strides = None

    def __init__(self, wayward: bool = False) -> None:
        super().__init__()
        self.wayward = wayward
        self.anchors, self.helpers = Anchors(), {"inner": [Anchors()]}
        self.features, self.seen, self.kept = [], set(), collections.deque(maxlen=3)
        self.grid, self.shape = None, types.SimpleNamespace(last=None)
        self.step = remembering([])
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.array = np.zeros(2)

    def forward(self, x: Tensor) -> Tensor:
        global LAST
        if self.wayward and float(x.max()) < -1e9:
            x = x + 1
        if self.grid is None or self.grid.device != x.device:
            self.grid = positions(x.shape[3])
            type(self).strides = torch.ones(1)
        if "grid" not in self.shared:
            self.shared["grid"] = table(x.shape[3])
        x = self.helpers["inner"][0](self.anchors(x)) + self.grid + self.shared["grid"]
        x = self.step(x * self.strides) + positions(x.shape[2])[:, None] + table(8)
        self.calls += 1
        self.array += 1
        self.features.append(x)
        self.kept.append(x)
        self.seen.add(len(self.features))
        self.shape.last, LAST = x.shape, x
        return super().forward(x)


def reach(reached, seen=None):
    """All that can be reached from a value, as nested plain values; tensors by type and bytes."""
    seen = seen or {}
    if id(reached) in seen:
        return seen[id(reached)]
    seen[id(reached)] = f"again {len(seen)}"
    inner = functools.partial(reach, seen=seen)
    if isinstance(reached, Tensor):
        values = reached.detach().reshape(-1).tolist()
        shape, trains = tuple(reached.shape), reached.requires_grad
        return (type(reached), id(reached), str(reached.dtype), shape, values, trains)
    if isinstance(reached, np.ndarray):
        return reached.tolist()
    if isinstance(reached, dict):
        return type(reached), [(inner(key), inner(value)) for key, value in reached.items()]
    if isinstance(reached, (list, tuple, set, collections.deque)):
        return type(reached), [inner(value) for value in reached]
    if isinstance(reached, types.FunctionType):
        return [inner(cell.cell_contents) for cell in reached.__closure__ or ()]
    slots = [inner(getattr(reached, name)) for name in getattr(type(reached), "__slots__", ())]
    held = inner(vars(reached)) if hasattr(reached, "__dict__") else repr(reached)
    return type(reached), slots, held


def everything(network: nn.Module):
    outside = Building.shared, Building.strides, TABLES, LAST
    draws = torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()
    return reach(network), reach(outside), draws


def fakes() -> list:
    """The tensors of a trace among what functions and the class remember."""
    held = [*TABLES.values(), *Building.shared.values(), positions(8), Building.strides, LAST]
    return [leaf for leaf in held if isinstance(leaf, FakeTensor)]


@pytest.fixture(autouse=True)
def nothing_remembered():
    positions.cache_clear()
    TABLES.clear()
    Building.shared.clear()
    Building.strides = None


@pytest.mark.parametrize("wayward", [False, True])
@pytest.mark.parametrize("runs", [0, 1])
def test_dissection_leaves_everything_as_it_was(runs, wayward):
    torch.manual_seed(0)
    network, x = Building(wayward), torch.randn(2, 1, 8, 8)
    network.b.eval()
    for _ in range(runs):
        network(x)
    before, given = everything(network), x.clone()
    traced = layers(network, x)
    assert everything(network) == before
    assert torch.equal(x, given) and vars(x) == {} and fakes() == []
    assert bool(traced.whole) == wayward
    assert network(x).isfinite().all() and type(network(x)) is Tensor


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, LesionError])
@pytest.mark.parametrize("place", ["trace", "couple", "record", "_check_images_apart"])
def test_so_does_one_that_is_broken_off(place, error, monkeypatch):
    torch.manual_seed(0)
    network, x = Building(place == "record"), torch.randn(2, 1, 8, 8)
    before, inner = everything(network), getattr(dissect, place)

    def breaking(*given, **options):
        inner(*given, **options)
        raise error("stop")

    monkeypatch.setattr(dissect, place, breaking)
    with pytest.raises(error):
        layers(network, x)
    assert everything(network) == before and fakes() == []
    assert type(network(x)) is Tensor


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_so_does_a_trace_that_is_broken_off_inside_of_the_network(error):
    class Stopping(Building):
        def forward(self, x):
            x = super().forward(x)
            if isinstance(x, FakeTensor) or type(x) is not Tensor:
                raise error("stop")
            return x

    network, x = Stopping(), torch.randn(2, 1, 8, 8)
    before = everything(network)
    try:
        layers(network, x)
    except KeyboardInterrupt:
        assert error is KeyboardInterrupt
    assert everything(network) == before and fakes() == []


def test_values_that_were_changed_come_back_in_their_own_tensors():
    network = Building()
    weight, before = network.a.weight, everything(network)
    with unchanged(network), torch.no_grad():
        network.a.weight.mul_(2)
        network.calls.data += 1
        network.b.weight = nn.Parameter(torch.zeros(1))
        del network.fc
        network.fc = nn.Identity()
        network.register_forward_hook(lambda *_: None)
        network.train()
        network.a.weight.requires_grad_(False)
        torch.rand(1), random.random(), np.random.rand()
    assert everything(network) == before and network.a.weight is weight


def test_what_was_remembered_without_a_trace_is_kept():
    positions(5)
    layers(Building(), torch.randn(2, 1, 8, 8))
    assert positions.cache_info().currsize >= 1
    hits = positions.cache_info().hits
    assert type(positions(8)) is Tensor and positions.cache_info().hits == hits + 1


class Makes(collections.OrderedDict):
    """Gives what its entries make, as a table of activations by name does."""

    def __getitem__(self, name):
        return super().__getitem__(name)()


class Doubled(list):
    """Gives other things than it holds."""

    def __iter__(self):
        return iter([2 * value for value in super().__iter__()])


TABLE = Makes(relu=nn.ReLU, gelu=nn.GELU)
TABLE.move_to_end("relu")
NUMBERS = Doubled([1, 2])


class Looking(nn.Module):
    def forward(self, x):
        return TABLE["relu"](x) * len(NUMBERS)


def test_collections_that_give_other_things_than_they_hold_come_back_with_what_they_hold():
    network = Looking()
    with unchanged(network):
        TABLE["gelu"] = nn.SiLU
        list.append(NUMBERS, 3)
    assert dict.__getitem__(TABLE, "gelu") is nn.GELU
    assert [*TABLE] == ["gelu", "relu"]
    assert list.copy(NUMBERS) == [1, 2]
    with unchanged(network):
        pass
    assert dict.__getitem__(TABLE, "relu") is nn.ReLU
