"""What Torch-Pruning would remove, and has removed, held against what the rates say."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lesion.errors import LesionError, first_line
from lesion.exports.layer_ratios import Share
from lesion.exports.match import Match
from lesion.exports.plain_weights import INSTEAD
from lesion.network.parameter_masks import masks
from lesion.subject.network import evaluating


@dataclass(frozen=True)
class Group:
    """What Torch-Pruning removes together: of each layer the filters, and the inputs."""

    root: str
    ratio: float
    filters: Mapping[str, set[int]]
    inputs: Mapping[str, set[int]]


def groups(matched: Match, graph: Any) -> Iterator[Group]:
    """The groups of Torch-Pruning that lose something, with what falls when their root's does."""
    names = {module: name for name, module in matched.network.named_modules()}
    kinds = (graph.ops.TORCH_CONV, graph.ops.TORCH_LINEAR, graph.ops.TORCH_LSTM)
    for whole in graph.get_all_groups(root_module_types=kinds):
        module, handler = whole[0].dep.target.module, whole[0].dep.handler
        falling = matched.falling(names[module])
        if not falling.any():
            continue
        share = _share(names[module], falling, _parts(graph, whole, names))
        filters, inputs = defaultdict[str, set[int]](set), defaultdict[str, set[int]](set)
        numbers = np.flatnonzero(falling).tolist()
        for dep, indices in graph.get_pruning_group(module, handler, numbers):
            name = names.get(dep.target.module, "")
            if name in matched.anatomy.layer:
                is_output = graph.is_out_channel_pruning_fn(dep.handler)
                (filters if is_output else inputs)[name].update(indices)
        yield Group(names[module], share.leaving, dict(filters), dict(inputs))


def _parts(graph: Any, group: Any, names: Mapping[nn.Module, str]) -> set[int]:
    """Into how many equal parts Torch-Pruning divides a group's channels: grouped convolutions
    and group norms, each of whose groups loses the same positions."""
    counts = {1}
    for dep, _ in group:
        module = dep.target.module
        depthwise = getattr(module, "groups", 0) == getattr(module, "out_channels", None)
        if module in names and not depthwise:
            pruner = graph.get_pruner_of_module(module)
            is_output = graph.is_out_channel_pruning_fn(dep.handler)
            count = pruner.get_out_channel_groups if is_output else pruner.get_in_channel_groups
            counts.add(count(module))
    return counts


def _share(layer: str, falling: np.ndarray, parts: set[int]) -> Share:
    """The share of the root's filters that falls, the same positions of each part."""
    for n in parts:
        rows = falling.reshape(n, -1) if len(falling) % n == 0 else falling[:, None]
        if (rows != rows[0]).any():
            raise LesionError(
                f"Expected the same positions to fall in each of {n} groups of channels, which is "
                f"all that Torch-Pruning can remove, but the rates for {layer} name different "
                f"ones; {INSTEAD}."
            )
    return Share(layer, int(falling.sum()), len(falling))


def check(matched: Match, together: Sequence[Group]) -> None:
    """Raises LesionError unless the groups together remove what the rates say, and nothing else."""
    for layer in matched.anatomy.layers:
        wanted = set(np.flatnonzero(matched.falling(layer.name)).tolist())
        removed = set().union(*(group.filters.get(layer.name, set()) for group in together))
        what = "filters"
        if removed == wanted and not layer.depthwise:
            wanted = set(np.flatnonzero(matched.unread(layer.name)).tolist())
            removed = set().union(*(group.inputs.get(layer.name, set()) for group in together))
            what = "inputs"
        if removed != wanted:
            raise LesionError(
                f"Expected Torch-Pruning to remove {len(wanted)} {what} of {layer.name}, but by "
                f"its dependency graph it would remove {len(removed)}, {len(removed & wanted)} of "
                f"them the right ones; {INSTEAD}."
            )


def check_pruned(small: Match, network: nn.Module) -> None:
    """Raises LesionError unless the pruned network runs, with what the rates leave of the other."""
    before, after = _tensors(network), _tensors(small.network)
    stay = masks(small.anatomy, small.dropped)
    for parameter in small.anatomy.parameters:
        value, pruned = before.get(parameter.name), after.get(parameter.name)
        if value is None or pruned is None:  # computed from others
            continue
        if parameter.name in stay:
            mask = torch.from_numpy(stay[parameter.name]).to(value.device).expand(value.shape)
            value = value[mask].reshape(parameter.kept(small.dropped))
        if not torch.equal(value, pruned):
            wrong = f"shape {tuple(pruned.shape)} instead of {tuple(value.shape)}"
            raise LesionError(
                f"Expected {parameter.name} without what falls, but Torch-Pruning left it with "
                f"{'other values' if value.shape == pruned.shape else wrong}; {INSTEAD}."
            )
    _check_runs(small)


def _check_runs(small: Match) -> None:
    try:
        with evaluating(small.network), torch.no_grad():
            small.outputs(small.network, small.batch)
    except Exception as error:  # the network is the user's: it may raise anything
        raise LesionError(
            "Expected a network that runs without what falls, but its forward fails "
            f"({type(error).__name__}: {first_line(error)}); it may hold numbers of channels: "
            f"{INSTEAD}."
        ) from error


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}
