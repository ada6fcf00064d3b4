"""The plain loop: put zeros into the weights, run the whole network, put the weights back.

The places of the zeros follow from each family's structure alone: a channel that batch norm, ReLU
and depthwise convolutions keep at zero needs zeros where it is made; in a DenseNet, where batch
norm follows a concatenation, each batch norm that reads the channel needs them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models import DenseNet

from lesion.lesions.lesion import Lesion
from lesion.network.anatomy import Anatomy

Zeros = list[tuple[nn.Module, np.ndarray]]


def lowest(network: nn.Module, layer: str, count: int) -> np.ndarray:
    """The filters of a layer with the smallest l1 norm."""
    weight = network.get_submodule(layer).weight.detach().double()
    return np.argsort(weight.flatten(1).abs().sum(1).numpy(), kind="stable")[:count]


def places(network: nn.Module, anatomy: Anatomy, lesion: Lesion, gone: np.ndarray) -> Zeros:
    """The modules, and which of their channels become zero in a lesion by l1.

    `gone`, the labels that fall, is looked at only where the scores of several layers count.
    """
    layers = [lesion.target] if lesion.kind == "branch" else anatomy.unit[lesion.target].layers
    if len(layers) == 1:
        return along(network, lesion.target, lowest(network, lesion.target, lesion.pruned))
    return [
        place
        for layer in layers
        for place in along(network, layer, np.flatnonzero(gone[list(anatomy.made_by(layer))]))
    ]


def along(network: nn.Module, layer: str, channels: np.ndarray) -> Zeros:
    """Where a layer's channels have to be zero so that nothing of them arrives anywhere."""
    own = (network.get_submodule(layer), channels)
    if isinstance(network, DenseNet):
        return [own, *_dense(network, layer, channels)]
    leaves = [module for module in network.modules() if not any(module.children())]
    found = [own]
    for module in leaves[leaves.index(own[0]) + 1 :]:
        depthwise = isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels
        if isinstance(module, _BatchNorm) or depthwise:
            found.append((module, channels))
        elif getattr(module, "weight", None) is not None:
            break
    return found


def _dense(network: DenseNet, layer: str, channels: np.ndarray) -> Zeros:
    """The batch norms of a DenseNet that read a layer's channels, counted from the block's."""
    features = network.features
    *parents, name = layer.split(".")
    if name == "conv1":  # the bottleneck inside a dense layer
        return [(network.get_submodule(".".join(parents)).norm2, channels)]
    stem = [(features.norm0, channels)] if name == "conv0" else []
    blocks = [part for part in features.children() if hasattr(part, "denselayer1")]
    ends = [features.transition1.norm, features.norm5]
    number = int(parents[1].removeprefix("denseblock")) - 1 if name == "conv2" else 0
    number = 1 if name == "conv" else number  # the transition feeds the second block
    block = list(blocks[number].children())
    start, readers = 0, [dense.norm1 for dense in block]
    if name == "conv2":
        place = int(parents[2].removeprefix("denselayer")) - 1
        start = block[0].norm1.num_features + place * block[0].conv2.out_channels
        readers = readers[place + 1 :]
    return stem + [(norm, start + channels) for norm in (*readers, ends[number])]


@contextmanager
def zeroed(zeros: Zeros) -> Iterator[None]:
    """Zero weights and offsets for the given channels; afterwards what was there before."""
    tensors = [
        (tensor, torch.from_numpy(channels))
        for module, channels in zeros
        for tensor in (module.weight, getattr(module, "bias", None))
        if tensor is not None
    ]
    before = [tensor.detach().clone() for tensor, _ in tensors]
    with torch.no_grad():
        for tensor, channels in tensors:
            tensor[channels] = 0
        try:
            yield
        finally:
            for (tensor, _), value in zip(tensors, before, strict=True):
                tensor.copy_(value)


@torch.no_grad()
def logits(network: nn.Module, images: Tensor, zeros: Zeros = (), batch: int = 128) -> Tensor:
    """The logits of the whole network with the zeros in it."""
    with zeroed(zeros):
        return torch.cat([network(part) for part in images.split(batch)])


def differences(plain: Tensor, prediction: Sequence[int]) -> tuple[int, float]:
    """How many predictions differ, and the largest gap there, of the two logits, over their scale.

    >>> differences(torch.tensor([[1.0, 3.0], [2.0, 4.0]]), [1, 0])
    (1, 0.5)
    """
    own = plain.argmax(1)
    other = torch.as_tensor(prediction)
    gap = plain.gather(1, own[:, None]) - plain.gather(1, other[:, None])
    return int((own != other).sum()), float(gap.max() / plain.abs().max())
