"""Copies of networks that share nothing with them, whatever their modules keep."""

import copy

from torch import Tensor, nn


def copied(network: nn.Module) -> nn.Module:
    """A deep copy; tensors that modules keep from a pass are copied without how they came about.

    Of those copy.deepcopy copies none, and torch's older weight norm and masks keep the weight.
    """
    kept = (value for module in network.modules() for value in vars(module).values())
    passing = [tensor for tensor in kept if isinstance(tensor, Tensor) and not tensor.is_leaf]
    return copy.deepcopy(network, {id(tensor): tensor.detach().clone() for tensor in passing})
