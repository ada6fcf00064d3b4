"""Copies of networks that share nothing with them, whatever their modules keep."""

import copy
from collections.abc import Mapping

from torch import Tensor, nn


def copied(network: nn.Module, instead: Mapping[int, Tensor] | None = None) -> nn.Module:
    """A deep copy; tensors that modules keep from a pass are copied without how they came about.

    Of those copy.deepcopy copies none, and torch's older weight norm and masks keep the weight.
    instead: by their ids what stands for some tensors in the copy
    """
    kept = (value for module in network.modules() for value in vars(module).values())
    passing = [tensor for tensor in kept if isinstance(tensor, Tensor) and not tensor.is_leaf]
    known = {id(tensor): tensor.detach().clone() for tensor in passing}
    return copy.deepcopy(network, {**known, **(instead or {})})
