"""Anatomies of small networks, for tests that look at labels, units and reasons."""

from functools import cache

import torch
from removal import forward
from small_networks import NETWORKS, Net
from torch import nn

from lesion.anatomy import Anatomy
from lesion.dissect import dissect


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


def labels(found: Anatomy, layer: str) -> list[int]:
    return list(found.made_by(layer))
