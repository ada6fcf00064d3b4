"""Which axes of a network's parameters follow channels, and their labels along each of them."""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping

import numpy as np
from torch import Tensor, nn

from lesion.network.anatomy import CONSTANT, Parameter
from lesion.network.graph import Graph, state_of
from lesion.network.labels import Coupling, Making, ids
from lesion.network.units import Joined


def parameters(network: nn.Module, coupling: Coupling, joined: Joined) -> tuple[Parameter, ...]:
    """The parameters and buffers of a network, and the weights that are computed from them."""
    axes: dict[str, dict[int, tuple[int, ...]]] = {}
    for made in coupling.makings.values():
        makes, reads = (tuple(joined.labels(x).tolist()) for x in (made.makes, made.reads))
        axes[made.weight] = _weight_axes(made, makes, reads)
        if made.bias:
            axes[made.bias] = {0: makes}
    for name, labels in coupling.axes.items():
        axes.setdefault(name, _axes(labels, joined))
    graph, named = coupling.graph, dict(_each_once(network, axes))
    pairs = [(made.weight, made.bias) for made in coupling.makings.values()]
    computed = {name: graph.parameters[name] for pair in pairs for name in pair if name}
    for name, source in _sources(graph, computed):
        axes.setdefault(source, _same_axes(axes[name], computed[name], graph.parameters[source]))
    return tuple(
        Parameter(name, tuple(value.shape), axes.get(name, {}), isinstance(value, nn.Parameter))
        for name, value in {**computed, **named}.items()
    )


def _each_once(network: nn.Module, known: Container[str]) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers; those with several names by the one that is known, if any."""
    tensors = defaultdict[int, list[tuple[str, Tensor]]](list)
    for name, value in state_of(network):
        tensors[id(value)].append((name, value))
    for same in tensors.values():
        yield next((pair for pair in same if pair[0] in known), same[0])


def _sources(graph: Graph, computed: Iterable[str]) -> Iterator[tuple[str, str]]:
    """What is computed from parameters, each with one of them that serves for nothing else."""
    users, nodes = graph.users(), graph.nodes
    for node in nodes:
        if node.kind == "parameter" and node.name in computed:
            sources = (index for index in node.inputs if users[index] == [node.index])
            yield from ((node.name, nodes[index].name) for index in sources)


def _same_axes(
    axes: Mapping[int, tuple[int, ...]], value: Tensor, source: Tensor
) -> dict[int, tuple[int, ...]]:
    """The labels along the axes that a parameter has in common with what is computed from it."""
    if source.dim() != value.dim():
        return {}
    return {axis: labels for axis, labels in axes.items() if source.shape[axis] == len(labels)}


def _weight_axes(
    made: Making, makes: tuple[int, ...], reads: tuple[int, ...]
) -> dict[int, tuple[int, ...]]:
    """The labels along a layer's weight: all of one side on axis 0, a group's other side on 1."""
    transposed = made.kind.startswith("transposed")
    if made.depthwise:  # whose channels follow their input, and lie on axis 0 alone
        return {0: makes[:: len(makes) // len(reads)] if transposed else makes}
    first, second = (reads, makes) if transposed else (makes, reads)
    return {0: first, 1: second[: len(second) // made.groups]}


def _axes(labels: Tensor, joined: Joined) -> dict[int, tuple[int, ...]]:
    """The axis along which a parameter's labels change, if there is one and only one."""
    final = joined.labels(ids(labels).reshape(labels.shape))
    if (final == CONSTANT).all():
        return {}
    for axis in range(final.ndim):
        line = np.moveaxis(final, axis, 0).reshape(final.shape[axis], -1)
        if (line == line[:, :1]).all():
            return {axis: tuple(line[:, 0].tolist())}
    return {}
