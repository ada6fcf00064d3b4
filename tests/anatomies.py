"""Anatomies of small networks, for tests that look at labels, units and reasons."""

from functools import cache

import torch
from removal import forward
from small_networks import NETWORKS, Net
from torch import nn

from lesion.network.anatomy import Anatomy, Unit
from lesion.network.canonical import lowered
from lesion.network.couple import couple
from lesion.network.dissect import dissect
from lesion.network.record import record
from lesion.network.units import join


def anatomy(network: nn.Module) -> Anatomy:
    x = torch.zeros(2, *getattr(network, "shape", (3, 6, 6)))
    return dissect(network.eval(), forward, x).anatomy


@cache
def planted(name: str) -> Anatomy:
    """The anatomy of one of `small_networks`."""
    return anatomy(NETWORKS[name]())


def net(step, **modules: nn.Module) -> Anatomy:
    """The anatomy of modules that follow each other as `step` says."""
    return anatomy(Net(step, **modules))


def mixing(network: nn.Module) -> dict[str, Unit]:
    """The unit of each layer of a network that may mix its images, which `dissect` refuses."""
    x = torch.rand(2, 3, 6, 6)
    with torch.no_grad():
        coupling = couple(lowered(record(network.eval(), forward, x)), (x,))
    units = join(coupling, {weight: weight.rpartition(".")[0] for weight in coupling.makings}).units
    return {layer: unit for unit in units for layer in unit.layers}


def labels(found: Anatomy, layer: str) -> list[int]:
    return list(found.made_by(layer))
