"""What Torch-Pruning would remove, and has removed, held against what the rates say."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lesion.errors import LesionError, first_line
from lesion.masking import masks
from lesion.matching import Match
from lesion.ownership import computed
from lesion.shares import Share
from lesion.subject import evaluating

INSTEAD = "hand over which filters stay (--to masks)"


@dataclass(frozen=True)
class Group:
    """What Torch-Pruning removes together: of each layer the filters, and the inputs."""

    root: str
    ratio: float
    filters: Mapping[str, set[int]]
    inputs: Mapping[str, set[int]]


def groups(found: Match, graph: Any) -> Iterator[Group]:
    """The groups of Torch-Pruning that lose something, with what falls when their root's does."""
    names = {module: name for name, module in found.network.named_modules()}
    kinds = (graph.ops.TORCH_CONV, graph.ops.TORCH_LINEAR, graph.ops.TORCH_LSTM)
    for whole in graph.get_all_groups(root_module_types=kinds):
        module, handler = whole[0].dep.target.module, whole[0].dep.handler
        falling = found.falling(names[module])
        if not falling.any():
            continue
        share = _share(names[module], falling, _parts(graph, whole, names))
        filters, inputs = defaultdict[str, set[int]](set), defaultdict[str, set[int]](set)
        numbers = np.flatnonzero(falling).tolist()
        for dep, own in graph.get_pruning_group(module, handler, numbers):
            name = names.get(dep.target.module, "")
            if name in found.anatomy.layer:
                made = graph.is_out_channel_pruning_fn(dep.handler)
                (filters if made else inputs)[name].update(own)
        yield Group(names[module], share.leaving, dict(filters), dict(inputs))


def _parts(graph: Any, group: Any, names: Mapping[nn.Module, str]) -> set[int]:
    """Into how many equal parts Torch-Pruning divides a group's channels: grouped convolutions
    and group norms, each of whose groups loses the same positions."""
    found = {1}
    for dep, _ in group:
        module = dep.target.module
        depthwise = getattr(module, "groups", 0) == getattr(module, "out_channels", None)
        if module in names and not depthwise:
            of = graph.get_pruner_of_module(module)
            made = graph.is_out_channel_pruning_fn(dep.handler)
            found.add(
                of.get_out_channel_groups(module) if made else of.get_in_channel_groups(module)
            )
    return found


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


def check(found: Match, together: Sequence[Group]) -> None:
    """Raises LesionError unless the groups together remove what the rates say, and nothing else."""
    for layer in found.anatomy.layers:
        wanted = set(np.flatnonzero(found.falling(layer.name)).tolist())
        own = set().union(*(group.filters.get(layer.name, set()) for group in together))
        what = "filters"
        if own == wanted and not layer.depthwise:
            wanted = set(np.flatnonzero(found.unread(layer.name)).tolist())
            own = set().union(*(group.inputs.get(layer.name, set()) for group in together))
            what = "inputs"
        if own != wanted:
            raise LesionError(
                f"Expected Torch-Pruning to remove {len(wanted)} {what} of {layer.name}, but by "
                f"its dependency graph it would remove {len(own)}, {len(own & wanted)} of them "
                f"the right ones; {INSTEAD}."
            )


def check_plain(found: Match) -> None:
    """Raises LesionError where what falls lies in weights that are no parameters of a layer."""
    wanting = {name for name, _ in computed(found)}
    for layer in found.anatomy.layers:
        if layer.weight in wanting or layer.bias in wanting:
            raise LesionError(
                f"Expected weights that are parameters, but that of {layer.name} is computed from "
                "others at every pass; make it a parameter (remove_parametrizations or "
                f"prune.remove of torch.nn.utils) and sweep that network, or {INSTEAD}."
            )


def check_pruned(small: Match, network: nn.Module) -> None:
    """Raises LesionError unless the pruned network runs, with what the rates leave of the other."""
    before, after = _tensors(network), _tensors(small.network)
    stay = masks(small.anatomy, small.dropped)
    for one in small.anatomy.parameters:
        value, own = before.get(one.name), after.get(one.name)
        if value is None or own is None:  # computed from others
            continue
        if one.name in stay:
            mask = torch.from_numpy(stay[one.name]).to(value.device).expand(value.shape)
            value = value[mask].reshape(one.kept(small.dropped))
        if not torch.equal(value, own):
            wrong = f"shape {tuple(own.shape)} instead of {tuple(value.shape)}"
            raise LesionError(
                f"Expected {one.name} without what falls, but Torch-Pruning left it with "
                f"{'other values' if value.shape == own.shape else wrong}; {INSTEAD}."
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
