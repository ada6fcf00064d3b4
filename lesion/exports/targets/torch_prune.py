"""`torch.nn.utils.prune`: structured masks on a network, which equal removal.

    masked = to_torch_prune(allocation, network, example)  # in place
    masked.remove()  # the zeros are made permanent

Zeros in a filter's weights alone are not removal: batch norm turns the dead channel into a constant
that flows on.  So the filter with its bias, the entries of batch norm, and the kernels of every
layer that reads the channel are masked; the last alone would be exact.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import nn
from torch.nn.utils import prune

from lesion.errors import LesionError
from lesion.exports.match import Match, match
from lesion.exports.origin import texts
from lesion.exports.ownership import owning
from lesion.exports.plain_weights import INSTEAD, check_plain
from lesion.exports.targets import Handover
from lesion.network.anatomy import keeps
from lesion.network.parameter_masks import masks
from lesion.network.rules.elementwise import SUMS
from lesion.rates.allocation import Allocation
from lesion.subject.adapter import Adapter

SUFFIX = ".safetensors"
RESOLVED = True


@dataclass(frozen=True, eq=False)
class TorchPrune:
    """A network with masks, and on what they are: (module, name of its parameter)."""

    network: nn.Module
    masked: tuple[tuple[nn.Module, str], ...]
    subject: Mapping[str, str]
    guarantee: str

    def remove(self) -> nn.Module:
        """The network with the zeros in its parameters and without masks."""
        for module, name in self.masked:
            prune.remove(module, name)  # type: ignore[no-untyped-call]
        return self.network


def to_torch_prune(
    allocation: Allocation, network: nn.Module, example: Any, adapter: Adapter | None = None
) -> TorchPrune:
    """Masks on a network, in place, with which it gives what it would without what falls.

    example: one batch of two images or more, as for `lesion.layers`
    Modules that share a parameter get the same mask each.  Raises LesionError where the rates are
    another network's, where it has masks already, and where no mask equals removal: channels that
    are normalised together, and weights that are computed from others.
    """
    _check_unmasked(network)
    matched = match(allocation, network, example, adapter)
    check_plain(matched)
    return _masked(owning(matched).match, network)


def content(given: Handover) -> bytes:
    """The state_dict of the masked network ("….weight_orig", "….weight_mask"), as safetensors.

    It loads into a network on which `to_torch_prune` put the same masks.  Weights that are computed
    from others, and lose something, are plain parameters.
    """
    network, example = given.network_for("torch-prune")
    owned = owning(match(given.allocation, network, example, given.adapter))
    check_plain(owned.match)
    copy = owned.joined(owned.match.network)
    _check_unmasked(copy)
    _masked(owned.match, copy)
    state = {name: value.contiguous().clone() for name, value in copy.state_dict().items()}
    return save(state, texts(given.allocation))


def _check_unmasked(network: nn.Module) -> None:
    if prune.is_pruned(network):
        raise LesionError(
            "Expected a network without masks of torch.nn.utils.prune, but it has some already; "
            "make them permanent with prune.remove, or load it anew."
        )


def _masked(matched: Match, network: nn.Module) -> TorchPrune:
    """The network with masks; matched: the rates where each module has parameters of its own."""
    _check(matched)
    places = []
    for name, mask in _of_parameters(matched):
        path, _, leaf = name.rpartition(".")
        module = network.get_submodule(path)
        parameter = getattr(module, leaf)
        whole = torch.from_numpy(mask).to(parameter.device).expand(parameter.shape)
        prune.custom_from_mask(module, leaf, whole)  # type: ignore[no-untyped-call]
        places.append((module, leaf))
    allocation = matched.allocation
    return TorchPrune(network, tuple(places), allocation.subject, allocation.guarantee)


def _of_parameters(matched: Match) -> Iterator[tuple[str, np.ndarray]]:
    """The masks but those of buffers: where these lose entries, weight and bias do too."""
    weights = {layer.weight for layer in matched.anatomy.layers}
    for name, mask in masks(matched.anatomy, matched.dropped).items():
        if name in weights or matched.anatomy.parameter[name].trained:
            yield name, mask


def _check(matched: Match) -> None:
    """Raises LesionError where zeros in weights do not take a channel away."""
    graph = matched.dissection.graph
    for edge in matched.dissection.reads:
        labels = edge.labels.numpy().astype(int).reshape(-1)
        gone = labels[~keeps(labels, matched.dropped)]
        together = "normalised together" if edge.role == "norm" else "added to others"
        if len(gone) and (edge.role == "norm" or graph.nodes[edge.node].name in SUMS):
            where = graph.nodes[edge.node].module or graph.nodes[edge.node].name
            units = matched.anatomy.unit.values()
            (unit,) = (unit.name for unit in units if gone[0] in unit.labels)
            raise LesionError(
                f"Expected channels that masks can take away, but those of unit {unit} are "
                f"{together} at {where}, where zeros count; prune the network itself "
                f"(lesion apply), or {INSTEAD}."
            )
