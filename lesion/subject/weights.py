"""The weights of a network: whether they can be measured, and the hash by which they are known."""

import hashlib

import torch
from torch import Tensor, nn

from lesion.errors import SubjectError
from lesion.subject.images import update


def check_weights(network: nn.Module) -> None:
    """Raises SubjectError naming the first tensor of the state_dict with NaN or infinity in it."""
    for name, tensor in _tensors(network):
        if tensor.layout is not torch.strided or tensor.is_meta:
            raise SubjectError(
                f"Expected dense weights with values, but '{name}' is sparse, or on the device "
                "meta; give the network as it was trained."
            )
        numbers = tensor.is_floating_point() or tensor.is_complex()
        if numbers and not bool(tensor.isfinite().all()):
            bad = int((~tensor.isfinite()).sum())
            raise SubjectError(
                f"Expected finite weights, got NaN or infinity in {bad} of {tensor.numel()} values "
                f"of '{name}'; give weights from before the training diverged."
            )


def fingerprint(network: nn.Module) -> str:
    """The SHA-256 of a network's state_dict: sorted names, types, shapes, bytes; hexadecimal.

    It changes with any weight or running statistic, not with the device.

    >>> a, b = nn.Linear(2, 1), nn.Linear(2, 1)
    >>> _ = b.load_state_dict(a.state_dict())
    >>> fingerprint(a) == fingerprint(b)
    True
    """
    sha = hashlib.sha256()
    for name, tensor in sorted(_tensors(network)):
        update(sha, name, tensor)
    return sha.hexdigest()


def _tensors(network: nn.Module) -> list[tuple[str, Tensor]]:
    state = network.state_dict()
    return [(name, value) for name, value in state.items() if isinstance(value, Tensor)]
