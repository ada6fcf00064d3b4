"""How a removal is compared with the physically smaller network, and on which networks."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
import torchvision
from pruned_elsewhere import prune
from randomised import randomise
from slicing import shrink
from torch import Tensor, nn

from lesion.anatomy import Unit
from lesion.dissect import Dissection, dissect
from lesion.engine import Replay, edges
from lesion.plan import Lesion, Target
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
        return [unit for unit in self.dissection.anatomy.units if unit.kind != "tied"]


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


@lru_cache(maxsize=1)
def family(name: str, size: int = 64) -> Case:
    """A network of torchvision or of the bundled ones, without trained weights."""
    torch.manual_seed(0)
    if hasattr(networks, name):
        return case(getattr(networks, name)(), 3, 16, 16)
    options = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    return case(torchvision.models.get_model(name, weights=None, **options), 3, size, size)


def drops(unit: Unit, labels: int, seeds: int = 1) -> Iterator[np.ndarray]:
    """Random sets of the unit's labels, as many in each of its cells: a half, then a quarter."""
    for seed in range(seeds):
        numbers = np.random.default_rng(seed)
        dropped = np.zeros(labels, bool)
        for cell in unit.cells:
            dropped[numbers.choice(cell, len(cell) // (2 + 2 * (seed % 2)), replace=False)] = True
        yield dropped


def whole(unit: Unit, dropped: np.ndarray) -> Lesion:
    """The lesion that removes these labels of a unit."""
    count = int(dropped.sum())
    return Lesion(unit.name, unit.kind, "random", count / unit.channels, count, unit.channels)


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


@torch.no_grad()
def logits(case: Case, unit: Unit, dropped: np.ndarray) -> tuple[Tensor, Tensor]:
    """The lesion's logits and those of the intact network."""
    lesion = whole(unit, dropped)
    found = dict(case.replay.run((case.x,), {lesion: dropped}))
    return found[lesion], found[None]


def removal(case: Case, unit: Unit, dropped: np.ndarray, reference: str = SLICING) -> Removal:
    """Removes the labels both ways: from the lesion's logits, and physically."""
    small = smaller(case, unit, dropped, reference)
    lesioned, intact = logits(case, unit, dropped)
    effect = float((lesioned - intact).abs().max())
    if effect > FLOOR * float(intact.abs().max()):
        with torch.no_grad():
            error, at = float((small(case.x) - lesioned).abs().max()) / effect, "logits"
    else:
        error, at = at_consumers(case, unit, dropped, small), "consumers"
    expected = sum(
        int(np.prod(parameter.kept(dropped)))
        for parameter in case.dissection.anatomy.parameters
        if parameter.trained
    )
    return Removal(unit, reference, error, at, (expected, sum(p.numel() for p in small.parameters())))


def at_consumers(case: Case, unit: Unit, dropped: np.ndarray, small: nn.Module) -> float:
    """The largest error in the outputs of the layers that read the unit, relative to the effect."""
    errors = []
    for edge in edges(case.dissection, Target(unit.name, unit.kind)):
        module = case.dissection.graph.nodes[edge.node].module
        intact, lesioned = _value(case, edge.node, unit, dropped)
        effect = float((lesioned - intact).abs().max())
        error = float((_output(small, module, case.x) - lesioned).abs().max())
        errors.append(error / effect)
    return max(errors)


def _value(case: Case, node: int, unit: Unit, dropped: np.ndarray) -> tuple[Tensor, Tensor]:
    """What one operation gives in the intact and in the lesioned network."""
    replay = Replay(case.dissection, fold=False)
    replay.program = replace(replay.program, output=node)
    lesion = whole(unit, dropped)
    with torch.no_grad():
        found = dict(replay.run((case.x,), {lesion: dropped}))
    return found[None], found[lesion]


def _output(network: nn.Module, module: str, x: Tensor) -> Tensor:
    """What one module gives on the way through the network."""
    seen: list[Tensor] = []
    hook = network.get_submodule(module).register_forward_hook(
        lambda _module, _inputs, output: seen.append(output)
    )
    with hook, torch.no_grad():
        network(x)
    return seen[0]
