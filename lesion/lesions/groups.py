"""What belongs to a target's channels: filters, factors of norms, weights that read them."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lesion.lesions.criteria import Consumer, Group, Part
from lesion.lesions.lesion import Target
from lesion.network.anatomy import Layer
from lesion.network.canonical import groups_of
from lesion.network.dissection import Dissection
from lesion.network.graph import Graph, Ref
from lesion.network.labels import Edge
from lesion.network.layout import Layout
from lesion.network.rules.layers import CONVOLUTIONS, LINEAR, TRANSPOSED

FACTOR = {"batch_norm": 1, "instance_norm": 1, "layer_norm": 2, "group_norm": 2, "rms_norm": 2}


@dataclass(frozen=True, eq=False)
class Reading:
    """A layer that reads channels, and mixes them.

    edges: where it reads them, once for each run; layout: how its weight is a matrix
    """

    layer: str
    edges: tuple[Edge, ...]
    layout: Layout

    @cached_property
    def labels(self) -> np.ndarray:
        """The channels that it reads, each once, rising."""
        read = np.unique(np.concatenate([inputs(edge) for edge in self.edges]))
        return read[read >= 0]

    def rows(self, weight: Tensor) -> Tensor:
        """Its weight by input channels: (inputs, weights that read one)."""
        matrix = self.layout.matrix(weight)
        return matrix.reshape(matrix.shape[0] * matrix.shape[1] // self.layout.taps, -1)


def inputs(edge: Edge) -> np.ndarray:
    """The labels of a layer's input channels."""
    return edge.labels.numpy().reshape(-1).astype(int)


def readings(dissection: Dissection) -> dict[str, Reading]:
    """The layers that read channels and mix them, by name."""
    nodes, edges = dissection.graph.nodes, dict[str, list[Edge]]()
    for edge in dissection.reads:
        weighted = nodes[edge.node].operation in CONVOLUTIONS | TRANSPOSED | LINEAR
        if weighted and edge.role == "read" and bool((edge.labels >= 0).any()):
            edges.setdefault(nodes[nodes[edge.node].args[1].index].name, []).append(edge)
    return {
        layer.name: Reading(layer.name, tuple(read), _layout(dissection.graph, read[0].node))
        for layer in dissection.anatomy.layers
        if (read := edges.get(layer.weight))
    }


def _layout(graph: Graph, index: int) -> Layout:
    node = graph.nodes[index]
    weight = graph.parameters[graph.nodes[node.args[1].index].name]
    return Layout(node.name, tuple(weight.shape), groups_of(node))


def by_filter(layer: Layer, weight: Tensor) -> Tensor:
    """A layer's weight, or what has its shape, filters first."""
    if not layer.kind.startswith("transposed"):
        return weight
    grouped = weight.reshape(layer.groups, -1, *weight.shape[1:])
    return grouped.transpose(1, 2).flatten(0, 1)


@dataclass(frozen=True)
class Extent:
    """How far a group goes.

    labels: of its channels; layers: that make them
    before: the operations through which nothing but these channels goes, the norms among them;
    behind: those through which the channels go, other layers' parts among them
    """

    labels: Sequence[int]
    layers: tuple[str, ...]
    before: Collection[int]
    behind: Collection[int]


@dataclass(frozen=True, eq=False)
class Groups:
    """The groups of a network's targets."""

    dissection: Dissection

    def of(self, target: Target, seed: int) -> tuple[Group, np.ndarray]:
        """A target's group, and for each of its scores (a filter of a layer, a channel of a unit)
        which channel it is of: several filters may make one.
        """
        shared = target.kind in ("branch", "layer")
        extent = self._of_layer(target.name) if shared else self._of_unit(target.name)
        channels, order = np.unique(extent.labels, return_inverse=True)
        places = np.full(self.dissection.anatomy.channels + 1, -1)  # the last is no channel's
        places[channels] = np.arange(len(channels))
        group = Group(
            target.name,
            len(channels),
            tuple(self._filters(extent.layers, places)),
            tuple(self._factors(extent.before, places)),
            tuple(self._consumers(extent.behind, places)),
            shared,
            seed,
        )
        return group, order

    def _of_unit(self, name: str) -> Extent:
        unit, nodes = self.dissection.anatomy.unit[name], range(len(self.dissection.graph.nodes))
        return Extent(unit.labels, unit.layers, nodes, nodes)

    def _of_layer(self, name: str) -> Extent:
        """Of a layer alone, with the depthwise ones that only its channels go through."""
        cut = {edge.node for edge in self.dissection.flows[name]}
        reading = {edge.node for each in self.readings.values() for edge in each.edges}
        before, behind = self._behind(name, cut), self._behind(name, reading)
        follow = (
            layer.name
            for layer in self.dissection.anatomy.layers
            if layer.depthwise and before.intersection(self.dissection.nodes[layer.name])
        )
        return Extent(self.dissection.anatomy.made_by(name), (name, *follow), before, behind)

    def _behind(self, layer: str, stops: Collection[int]) -> set[int]:
        """The operations behind a layer, up to some of them."""
        users, reached = self.dissection.graph.users(), set[int]()
        todo = list(self.dissection.nodes[layer])
        while todo:
            fresh = [user for user in users[todo.pop()] if user not in reached]
            reached.update(fresh)
            todo += [user for user in fresh if user not in stops]
        return reached

    @cached_property
    def readings(self) -> Mapping[str, Reading]:
        """The layers that read channels."""
        return readings(self.dissection)

    def _filters(self, layers: Iterable[str], places: np.ndarray) -> Iterator[Part]:
        graph, anatomy = self.dissection.graph, self.dissection.anatomy
        for name in layers:
            channels = places[list(anatomy.made_by(name))]
            layer = anatomy.layer[name]
            weight = by_filter(layer, graph.parameters[layer.weight])
            yield Part(name, weight, torch.from_numpy(channels))

    def _factors(self, nodes: Collection[int], places: np.ndarray) -> Iterator[Part]:
        graph, parameters = self.dissection.graph, self.dissection.anatomy.parameter
        known = [n for n in graph.nodes if n.index in nodes and n.operation in FACTOR]
        given = [arg for n in known for arg in n.args[FACTOR[n.operation] :][:1]]
        names = {graph.nodes[arg.index].name for arg in given if isinstance(arg, Ref)}
        for name in sorted(names & parameters.keys()):
            for axis, labels in parameters[name].axes.items():
                channels = torch.from_numpy(places[list(labels)])
                if bool((channels >= 0).any()):
                    yield Part(name, graph.parameters[name].movedim(axis, 0), channels)

    def _consumers(self, nodes: Collection[int], places: np.ndarray) -> Iterator[Consumer]:
        graph, layers = self.dissection.graph, self.dissection.anatomy.layer
        for name, reading in self.readings.items():
            edge = next((edge for edge in reading.edges if edge.node in nodes), None)
            if edge is None or not bool((places[reading.labels] >= 0).any()):
                continue
            rows = reading.rows(graph.parameters[layers[name].weight])
            channels = torch.from_numpy(places[inputs(edge)])
            yield Consumer(name, rows, channels, torch.from_numpy(places[reading.labels]))
