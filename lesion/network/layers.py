"""What can be cut in a network, without measuring anything."""

from typing import Any

from torch import Tensor, nn

from lesion.network.anatomy import Anatomy
from lesion.network.dissect import dissect
from lesion.network.dissection import Dissection
from lesion.subject.adapter import Adapter, BatchAdapter
from lesion.subject.batch import moved
from lesion.subject.checks import check_network
from lesion.subject.network import Behind, device_of, evaluating, try_out


def layers(network: nn.Module, example: Any, adapter: Adapter | None = None) -> Anatomy:
    """The anatomy of a network: `.layers`, `.units`, `.parameters`, `.table()`.

    example: one batch, with any labels: a tensor of images (N, …), or whatever the adapter (by
        default `BatchAdapter`) takes.  Two images or more, so that the batch axis shows.
    The network comes back as it was, with all that it holds.  Raises SubjectError for outputs in
    which no tensor is found, and where an image's outputs depend on more than the image: on those
    beside it, on random numbers or on earlier calls.

    >>> import torch
    >>> from torch import nn
    >>> network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    >>> anatomy = layers(network, torch.zeros(2, 1, 4, 4))
    >>> [(unit.name, unit.kind, unit.channels) for unit in anatomy.units]
    [('0', 'free', 4), ('3', 'tied', 2)]
    >>> [layer.macs for layer in anatomy.layers]  # 2·2 pixels · 9 weights · 4 filters; 16 · 2
    [144, 32]
    """
    return opened(network, example, adapter).anatomy


def opened(network: nn.Module, example: Any, adapter: Adapter | None = None) -> Dissection:
    """The traced network behind the anatomy, see `layers`."""
    given = adapter or BatchAdapter()
    batch = moved(example, device_of(network))

    def forward(module: nn.Module, images: Any) -> Any:
        plain = isinstance(images, Tensor) and adapter is None
        return module(images) if plain else given.forward(module, images)

    check_network(network)
    try_out(network, Behind(forward), batch)  # what fails is told in a sentence
    with evaluating(network):
        return dissect(network, forward, batch, scored=False)
