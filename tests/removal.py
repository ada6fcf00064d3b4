"""How a removal is compared with the physically smaller network, and on which networks."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
import torchvision
from cutting import cut
from pruned_elsewhere import prune
from randomised import randomise
from slicing import shrink
from small_networks import NETWORKS
from torch import Tensor, nn

from lesion.engine.replay import Replay
from lesion.lesions.edits import edges
from lesion.lesions.lesion import Lesion, Target
from lesion.network.anatomy import Unit
from lesion.network.dissect import dissect
from lesion.network.dissection import Dissection
from lesion.zoo import networks

TOLERANCE = 1e-6  # of the removal's own effect
FLOOR = 1e-9  # of the logits' size: effects below it are compared at the consumers
TORCH_PRUNING, SLICING = "torch-pruning", "slicing"


@dataclass(frozen=True)
class Case:
    """A randomised network in float64, two images, its anatomy and the replay that is tested."""

    network: nn.Module
    x: Tensor
    dissection: Dissection
    replay: Replay

    @property
    def units(self) -> list[Unit]:
        """Those that can be removed, physically as well."""
        units = self.dissection.anatomy.units
        return [unit for unit in units if unit.kind != "tied" and not unit.held]


@dataclass(frozen=True)
class Removal:
    """One unit without the dropped labels; the error is relative to the removal's own effect."""

    unit: Unit
    reference: str
    error: float
    at: str
    parameters: tuple[int, int]


def forward(network: nn.Module, batch: Tensor) -> Tensor:
    return network(batch)


def case(network: nn.Module, *shape: int, seed: int = 0) -> Case:
    """A network and two images of this shape, ready to be compared."""
    torch.manual_seed(seed)
    randomise(network, torch.randn(4, *shape), seed)
    x = torch.randn(2, *shape, dtype=torch.float64)
    dissection = dissect(network, forward, x)
    return Case(network, x, dissection, Replay(dissection))


def again(case: Case) -> Case:
    """The case once more, after its network's parameters were changed in place."""
    dissection = dissect(case.network, forward, case.x)
    return Case(case.network, case.x, dissection, Replay(dissection))


@lru_cache(maxsize=1)
def family(name: str, size: int = 64) -> Case:
    """A network of torchvision or of the bundled ones, without trained weights."""
    torch.manual_seed(0)
    if hasattr(networks, name):
        return case(getattr(networks, name)(), 3, 16, 16)
    options = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    return case(torchvision.models.get_model(name, weights=None, **options), 3, size, size)


@lru_cache(maxsize=64)
def small(name: str) -> Case:
    """A small network of `small_networks`."""
    torch.manual_seed(0)
    network = NETWORKS[name]()
    return case(network, *getattr(network, "shape", (3, 6, 6)))


def drops(unit: Unit, labels: int, seeds: int = 1) -> Iterator[np.ndarray]:
    """Random sets of the unit's labels, as many in each of its cells: a half, then a quarter."""
    for seed in range(seeds):
        numbers = np.random.default_rng(seed)
        dropped = np.zeros(labels, bool)
        for cell in unit.cells:
            count = max(len(cell) // (2 + 2 * (seed % 2)), min(1, len(cell) - 1))
            dropped[numbers.choice(cell, count, replace=False)] = True
        yield dropped


def smaller(case: Case, unit: Unit, dropped: np.ndarray, reference: str) -> nn.Module:
    """The network sliced by hand; Torch-Pruning's, if asked for, must have equal tensors."""
    anatomy = case.dissection.anatomy
    sliced = shrink(case.network, anatomy, dropped)
    if reference == SLICING:
        return sliced
    small = prune(case.network, case.x, anatomy, unit, dropped)
    other, own = small.state_dict(), sliced.state_dict()
    assert other.keys() == own.keys()
    unequal = [name for name, value in own.items() if not torch.equal(other[name], value)]
    assert unequal == [], f"{unit.name}: Torch-Pruning keeps other values in {unequal}"
    return small


def whole(unit: Unit, dropped: np.ndarray) -> Lesion:
    """The lesion that removes these labels of a unit."""
    count = int(dropped.sum())
    return Lesion(unit.name, unit.kind, "random", count / unit.channels, count, unit.channels)


def removal(case: Case, unit: Unit, dropped: np.ndarray, reference: str = SLICING) -> Removal:
    """Removes the labels both ways: in replay, and physically."""
    small = smaller(case, unit, dropped, reference)
    with torch.no_grad():
        error, at = _compared(case, unit, dropped, small)
    parameters = case.dissection.anatomy.parameters
    counted = sum(int(np.prod(one.kept(dropped))) for one in parameters if one.trained)
    there = sum(one.numel() for one in small.parameters())
    return Removal(unit, reference, error, at, (counted, there))


def _compared(case: Case, unit: Unit, dropped: np.ndarray, small: nn.Module) -> tuple[float, str]:
    """The error relative to the effect, on the logits, or at the consumers where the logits show
    no effect; where the consumers show none either, relative to the size of their outputs."""
    found = _replayed(case.replay, case.x, unit, dropped)
    if found.effect > FLOOR * found.size:
        return found.error(small(case.x)) / found.effect, "logits"
    consumers = [
        (_at(case, edge.node, unit, dropped), edge.node)
        for edge in edges(case.dissection, Target(unit.name, unit.kind))
    ]
    errors = [
        (one, one.error(_output(small, case.dissection.graph.nodes[node].module, case.x)))
        for one, node in consumers
    ]
    if all(one.effect > 0 for one, _ in errors):
        return max(error / one.effect for one, error in errors), "consumers"
    return max(error / one.size for one, error in errors), "nothing"


@dataclass(frozen=True)
class Replayed:
    """One value of the network, intact and lesioned."""

    intact: Tensor
    lesioned: Tensor

    @property
    def effect(self) -> float:
        return float((self.lesioned - self.intact).abs().max())

    @property
    def size(self) -> float:
        return float(self.intact.abs().max())

    def error(self, expected: Tensor) -> float:
        return float((self.lesioned - expected).abs().max())


def _replayed(replay: Replay, x: Tensor, unit: Unit, dropped: np.ndarray) -> Replayed:
    lesion = whole(unit, dropped)
    found = dict(replay.run((x,), {lesion: cut(replay, lesion, dropped)}))
    return Replayed(found[None], found[lesion])


def _at(case: Case, node: int, unit: Unit, dropped: np.ndarray) -> Replayed:
    """What one operation gives, in place of the logits."""
    replay = Replay(case.dissection, fold=False)
    replay.program = replace(replay.program, output=node)
    return _replayed(replay, case.x, unit, dropped)


def _output(network: nn.Module, module: str, x: Tensor) -> Tensor:
    """What one module gives on the way through the network."""
    seen: list[Tensor] = []
    place = network.get_submodule(module)
    with place.register_forward_hook(lambda _module, _inputs, output: seen.append(output)):
        network(x)
    return seen[0]
