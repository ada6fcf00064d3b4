"""The network without what falls: its tensors sliced along the axes that follow channels.

Nothing else of it changes but the numbers of channels that its modules hold.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lesion.network.anatomy import Layer, keeps
from lesion.network.dissection import Dissection
from lesion.network.graph import Ref, state_of
from lesion.network.parameter_masks import lengths, masks
from lesion.network.program import layout
from lesion.network.resized import Numbers, Resized

NORMS = {"batch_norm", "instance_norm", "group_norm", "layer_norm", "rms_norm", "prelu"}
FEATURES = ("num_features", "num_channels", "num_parameters", "normalized_shape")
Attributes = Mapping[str, Mapping[str, Any]]  # by a module's name, by the attribute's


@dataclass(frozen=True)
class Slices:
    """What stays of a network.

    tensors: of what loses something, by name where it stays, of size 1 along axes that stay whole
    attributes: the modules' numbers of channels that differ, as they are then
    """

    tensors: Mapping[str, np.ndarray]
    attributes: Attributes

    @classmethod
    def of(cls, network: nn.Module, dissection: Dissection, resized: Resized) -> "Slices":
        """What stays where labels fall, with the numbers by which torch's layers and norms go."""
        state, losing = dict(state_of(network)), masks(dissection.anatomy, resized.dropped)
        tensors = {name: mask for name, mask in losing.items() if name in state}
        return replace(cls.of_numbers(network, dissection, resized), tensors=tensors)

    @classmethod
    def of_numbers(cls, network: nn.Module, dissection: Dissection, resized: Resized) -> "Slices":
        """The numbers alone."""
        changed = defaultdict[str, dict[str, Any]](dict)
        for path, values in _followed(network, dissection, resized):
            changed[path].update(values)
        return cls({}, {path: values for path, values in changed.items() if values})

    def with_numbers(self, network: nn.Module, resized: Resized) -> "Slices":
        """The same, and other attributes that hold a number of channels of their module's steps."""
        arguments, values = resized.numbers()
        changed = {path: dict(known) for path, known in self.attributes.items()}
        followed = {path for path, _ in _followed(network, resized.dissection, resized)}
        for path, module in network.named_modules():
            if path in followed:
                continue
            seen = {old: new for old, new in values[path].items() if old not in arguments[path]}
            certain = _certain(seen) | _certain(arguments[path])
            for name, value in vars(module).items() if certain else ():
                if name.startswith("_") or name in changed.get(path, {}):
                    continue
                renumbered = _renumbered(value, certain)
                if renumbered is not value and renumbered != value:
                    changed.setdefault(path, {})[name] = renumbered
        return replace(self, attributes=changed)

    def cut(self, network: nn.Module) -> None:
        """Slices the tensors of a copy in place, and sets the attributes.

        Modules that share a tensor share what stays of it.
        """
        state = dict(state_of(network))
        for name, mask in self.tensors.items():
            tensor = state[name]
            tensor.grad = None
            tensor.data = _sliced(tensor.detach(), mask)
        self.number(network)

    def numbers_of(self, network: nn.Module) -> "Slices":
        """The same attributes as a network has them."""
        modules = {path: network.get_submodule(path) for path in self.attributes}
        attributes = {
            path: {name: getattr(modules[path], name) for name in values}
            for path, values in self.attributes.items()
        }
        return replace(self, attributes=attributes)

    def number(self, network: nn.Module) -> None:
        """Sets the attributes."""
        for path, values in self.attributes.items():
            module = network.get_submodule(path)
            for name, value in values.items():
                setattr(module, name, value)


def _certain(numbers: Numbers) -> dict[int, int]:
    """The numbers that become one and the same everywhere."""
    return {old: min(new) for old, new in numbers.items() if len(new) == 1}


def _sliced(value: Tensor, mask: np.ndarray) -> Tensor:
    """What stays of a tensor; every filter of a grouped layer keeps as many inputs."""
    shape = [
        lengths(mask)[axis] if mask.shape[axis] > 1 else size
        for axis, size in enumerate(value.shape)
    ]
    stay = torch.from_numpy(mask).to(value.device).expand(value.shape)
    small = value[stay].reshape(shape)
    return small.contiguous(memory_format=layout(value))


def _followed(
    network: nn.Module, dissection: Dissection, resized: Resized
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The numbers of channels by which layers and norms go, by their modules."""
    modules = dict(network.named_modules())
    for layer in dissection.anatomy.layers:
        path = layer.weight.rpartition(".")[0]
        if path in modules:
            yield path, _changed(modules[path], _of_layer(layer, resized.dropped))
    for node in dissection.graph.nodes:
        if node.operation in NORMS and isinstance(node.args[0], Ref) and node.module in modules:
            sizes = resized.sizes(node.args[0].index).values()
            yield (
                node.module,
                _changed(
                    modules[node.module], ((name, *pair) for name in FEATURES for pair in sizes)
                ),
            )


def _of_layer(layer: Layer, dropped: np.ndarray) -> Iterator[tuple[str, int, int]]:
    """What a module calls its numbers of channels, with their values before and after."""
    made, read = (int(keeps(labels, dropped).sum()) for labels in (layer.makes, layer.reads))
    for name in ("out_channels", "out_features"):
        yield name, layer.channels, made
    for name in ("in_channels", "in_features"):
        yield name, layer.channels_in, read
    if layer.depthwise:
        yield "groups", layer.groups, read


def _changed(module: nn.Module, sizes: Iterable[tuple[str, int, int]]) -> dict[str, Any]:
    """The attributes that a module has under these names, with new values."""
    changed: dict[str, Any] = {}
    for name, old, new in sizes:
        value = changed.get(name, getattr(module, name, None))
        renumbered = _renumbered(value, {old: new})
        if renumbered is not value and renumbered != value:
            changed[name] = renumbered
    return changed


def _renumbered(value: Any, sizes: Mapping[int, int]) -> Any:
    """A number, or a tuple or list of numbers, with others in the place of those that change."""
    if type(value) is int:
        return sizes.get(value, value)
    if type(value) in (tuple, list, torch.Size) and all(type(part) is int for part in value):
        return type(value)(sizes.get(part, part) for part in value)
    return value
