"""Entries of weights that are zero: in a pass, or in a copy of a network for good."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from lesion.lesions.readers import tensor_of


def cleared(network: nn.Module, entries: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights by name, with zeros in the entries that are given as booleans."""
    weights = {name: tensor_of(network, name) for name in entries}
    return {
        name: weight.masked_fill(entries[name].to(weight.device), 0)
        for name, weight in weights.items()
    }


def hold_clear(network: nn.Module, entries: Mapping[str, Tensor]) -> None:
    """The entries are zero from now on, in every pass of their module or the network."""
    for name, gone in entries.items():
        owner, _, last = name.rpartition(".")
        for module, path in {network: name, network.get_submodule(owner): last}.items():
            hook = _clearing(path, gone)
            hook(module)
            module.register_forward_pre_hook(hook)


def _clearing(name: str, gone: Tensor) -> Callable[..., None]:
    @torch.no_grad()
    def hook(module: nn.Module, *_: object) -> None:
        weight = tensor_of(module, name)
        places = gone.to(weight.device).expand_as(weight)
        if weight[places].any():  # training has moved them
            weight.masked_fill_(places, 0)

    return hook
