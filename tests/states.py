"""Whether two networks hold the same tensors."""

import torch
from torch import Tensor, nn


def values(network: nn.Module) -> dict[str, Tensor]:
    """Copies of what a network's state_dict holds."""
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    """Whether two such dicts are equal."""
    return left.keys() == right.keys() and all(
        torch.equal(left[name], right[name]) for name in left
    )
