"""The physically smaller network, sliced by hand: an answer that owes nothing to replay.

A deep copy keeps its own forward; its parameters and buffers lose the dropped channels and its
modules learn their new sizes. What has channel numbers in its forward is rewired for the channels
that stay: option-A shortcuts, ShuffleNet's split and shuffle, and shuffles between grouped layers.
"""

import copy
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.shufflenetv2 import InvertedResidual, ShuffleNetV2, channel_shuffle

from lesion.network.anatomy import Anatomy, Layer, keeps
from lesion.zoo.networks import BasicBlock


def shrink(network: nn.Module, anatomy: Anatomy, dropped: np.ndarray) -> nn.Module:
    """A copy of the network without the channels whose labels are in `dropped`."""
    small = shell(network)
    layers = {layer.weight: layer for layer in anatomy.layers}
    for parameter in anatomy.parameters:
        module, name = _owner(small, parameter.name)
        value = getattr(module, name).detach()
        if parameter.name in layers:
            value = _weight(value, layers[parameter.name], anatomy, dropped)
            _resize(module, layers[parameter.name], value, dropped)
        else:
            for axis, labels in parameter.axes.items():
                value = value.index_select(axis, _kept(labels, dropped))
        _set(module, name, value)
    for module in small.modules():
        _update(module)
    _rewire(small, anatomy, dropped)
    return small


def shell(network: nn.Module) -> nn.Module:
    """A copy of all modules that shares the network's tensors, so that it costs no memory."""
    tensors = [*network.parameters(), *network.buffers()]
    return copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})


def _owner(network: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, leaf = name.rpartition(".")
    return network.get_submodule(path), leaf


def _set(module: nn.Module, name: str, value: Tensor) -> None:
    own = isinstance(getattr(module, name), nn.Parameter)
    setattr(module, name, nn.Parameter(value) if own else value)


def _kept(labels: Iterable[int], dropped: np.ndarray) -> Tensor:
    """The positions whose labels stay."""
    return torch.from_numpy(np.flatnonzero(keeps(np.asarray(labels), dropped)))


def _weight(weight: Tensor, layer: Layer, anatomy: Anatomy, dropped: np.ndarray) -> Tensor:
    """A layer's weight; a grouped one is sliced group by group, by rows and by columns."""
    transposed = layer.kind.startswith("transposed")
    if layer.depthwise:
        share = 1 if transposed else layer.channels // layer.channels_in
        return weight[_kept(np.repeat(layer.reads, share), dropped)]
    makes = np.asarray(anatomy.made_by(layer.name)).reshape(layer.groups, -1)
    reads = np.asarray(layer.reads).reshape(layer.groups, -1)
    first, second = (reads, makes) if transposed else (makes, reads)
    parts = weight.reshape(layer.groups, -1, *weight.shape[1:])
    return torch.cat([
        part[_kept(rows, dropped)][:, _kept(columns, dropped)]
        for part, rows, columns in zip(parts, first, second, strict=True)
    ])  # fmt: skip


def _resize(module: nn.Module, layer: Layer, weight: Tensor, dropped: np.ndarray) -> None:
    """A layer's sizes: depthwise ones have fewer groups, other grouped ones as many as before."""
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
    if not isinstance(module, nn.modules.conv._ConvNd):
        return  # such as attention, which no removal touches
    if layer.depthwise:
        module.groups = len(_kept(layer.reads, dropped))
    one, other = weight.shape[0], weight.shape[1] * module.groups
    module.in_channels, module.out_channels = (one, other) if module.transposed else (other, one)


def _update(module: nn.Module) -> None:
    """The sizes of modules that follow channels."""
    if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.InstanceNorm2d)):
        module.num_features = len(module.weight)
    elif isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        module.normalized_shape = tuple(module.weight.shape)
    elif isinstance(module, nn.GroupNorm):
        module.num_channels = len(module.weight)
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(module.weight)


class OptionA(nn.Module):
    """A basic block whose parameter-free shortcut keeps the channels that stay.

    The shortcut is that of the whole network: `inside` says where the channels of x lie in its
    input, `outside` which channels of its padded output stay.
    """

    def __init__(self, block: BasicBlock, wide: int, inside: Tensor, outside: Tensor) -> None:
        super().__init__()
        self.conv1, self.bn1, self.conv2, self.bn2 = block.conv1, block.bn1, block.conv2, block.bn2
        self.stride, self.wide, self.inside, self.outside = block.stride, wide, inside, outside

    def forward(self, x: Tensor) -> Tensor:
        thin = x[:, :, :: self.stride, :: self.stride]
        whole = thin.new_zeros(len(x), self.wide, *thin.shape[2:])
        whole[:, self.inside] = thin
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + whole[:, self.outside])


class Reordered(nn.Module):
    """A shuffle of the channels that stay."""

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.order]


class Shuffled(nn.Module):
    """ShuffleNet's block for the channels that stay: a split and a shuffle by positions."""

    def __init__(self, block: InvertedResidual, left: Tensor, right: Tensor, order: Tensor) -> None:
        super().__init__()
        self.block, self.left, self.right, self.order = block, left, right, order

    def forward(self, x: Tensor) -> Tensor:
        if self.block.stride == 1:
            both = [x[:, self.left], self.block.branch2(x[:, self.right])]
        else:
            both = [self.block.branch1(x), self.block.branch2(x)]
        return torch.cat(both, 1)[:, self.order]


def _rewire(small: nn.Module, anatomy: Anatomy, dropped: np.ndarray) -> None:
    for name, module in list(small.named_modules()):
        if isinstance(module, BasicBlock) and module.stride > 1:
            made = anatomy.made_by(f"{name}.conv2")
            inside = _kept(anatomy.layer[f"{name}.conv1"].reads, dropped)
            _replace(small, name, OptionA(module, len(made), inside, _kept(made, dropped)))
    for name, (before, after) in getattr(small, "shuffles", {}).items():
        made, read = anatomy.made_by(before), anatomy.layer[after].reads
        kept = [label for label in made if not dropped[label]]
        order = [kept.index(label) for label in read if not dropped[label]]
        _replace(small, name, Reordered(torch.tensor(order)))
    if isinstance(small, ShuffleNetV2):
        _rewire_shuffles(small, anatomy, dropped)


def _rewire_shuffles(small: ShuffleNetV2, anatomy: Anatomy, dropped: np.ndarray) -> None:
    """Follows the labels through the blocks: which channel lies where, before and after."""
    x = np.asarray(anatomy.made_by("conv1.0"))
    for name, block in list(small.named_modules()):
        if not isinstance(block, InvertedResidual):
            continue
        right = np.asarray(anatomy.made_by(f"{name}.branch2.5"))
        left = x[: len(x) // 2]
        if block.stride == 2:
            left = np.asarray(anatomy.made_by(f"{name}.branch1.2"))
        whole = np.concatenate([left, right])
        order = channel_shuffle(torch.arange(len(whole)).reshape(1, -1, 1, 1), 2).flatten()
        halves = np.repeat([True, False], len(x) // 2)[keeps(x, dropped)]
        there = np.cumsum(keeps(whole, dropped)) - 1  # where the channels that stay lie
        kept = order[torch.from_numpy(keeps(whole, dropped))[order]]
        _replace(small, name, Shuffled(
            block, torch.from_numpy(np.flatnonzero(halves)),
            torch.from_numpy(np.flatnonzero(~halves)), torch.from_numpy(there)[kept],
        ))  # fmt: skip
        x = whole[order.numpy()]


def _replace(network: nn.Module, name: str, new: nn.Module) -> None:
    parent, leaf = _owner(network, name)
    setattr(parent, leaf, new)
