"""The physically smaller network that Torch-Pruning makes: an answer from another library."""

import warnings

import numpy as np
import torch_pruning as tp
from slicing import shell
from torch import Tensor, nn

from lesion.network.anatomy import Anatomy, Unit, keeps

OUT = {nn.Linear: tp.prune_linear_out_channels, nn.Conv2d: tp.prune_conv_out_channels}


def prune(
    network: nn.Module, x: Tensor, anatomy: Anatomy, unit: Unit, dropped: np.ndarray
) -> nn.Module:
    """Torch-Pruning's copy of the network without the dropped filters of the unit's first layer.

    Its dependency graph finds what must fall with them; that must be the unit's layers, each with
    the filters that the unit's labels name.
    """
    small = shell(network).requires_grad_(True)
    graph = tp.DependencyGraph()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it found parameters such as layer_scale
        graph.build_dependency(small, x)
    root = small.get_submodule(unit.layers[0])
    group = graph.get_pruning_group(
        root, OUT[type(root)], _fallen(anatomy, unit.layers[0], dropped)
    )
    _agree(graph, group, small, anatomy, unit, dropped)
    group.prune()
    return small.requires_grad_(False)


def _fallen(anatomy: Anatomy, layer: str, dropped: np.ndarray) -> list[int]:
    return np.flatnonzero(~keeps(anatomy.made_by(layer), dropped)).tolist()


def _agree(graph, group, small: nn.Module, anatomy: Anatomy, unit: Unit, dropped) -> None:
    names = {module: name for name, module in small.named_modules()}
    found = {
        names[dep.target.module]: sorted(set(idxs))
        for dep, idxs in group
        if isinstance(dep.target.module, tuple(OUT))
        and graph.is_out_channel_pruning_fn(dep.handler)
    }
    assert found == {layer: _fallen(anatomy, layer, dropped) for layer in unit.layers}
