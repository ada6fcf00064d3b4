"""Blocks that a network does without: where a stream meets a branch.

In y = x + f(x) the stream is the operand to which a path leads from where both come from, past no
layer; pooling, padding and normalisation may lie on it.  In a block that changes shapes it is the
operand whose only layer is a projection, a 1×1 convolution.  In y = [x, f(x)] the branch ends in
channels that concatenations alone read, each beside what the branch itself has read.

Layers belong to the block whose values nothing needs once the branch is gone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from lesion.network.anatomy import Block, Layer, Unit
from lesion.network.graph import Graph, Node, Ref
from lesion.network.labels import Coupling, Making
from lesion.network.stages import joins, prefix, shortcuts
from lesion.network.units import Joined

CONCATENATIONS = {"cat", "concat", "concatenate"}


@dataclass(frozen=True)
class Branch:
    """node: the addition in which a branch meets its stream; stream: which operand that is."""

    node: int
    stream: int


@dataclass(frozen=True)
class _Lost:
    """Layers that need not run without a branch, and those that run less often; their MACs."""

    layers: tuple[str, ...]
    shared: tuple[str, ...]
    macs: int

    @property
    def members(self) -> tuple[str, ...]:
        """All of these layers."""
        return self.layers + self.shared


def blocks(
    coupling: Coupling, makings: Mapping[str, Making], joined: Joined, layers: Sequence[Layer]
) -> tuple[tuple[Block, ...], dict[str, Branch]]:
    """The blocks in order of execution, and of those that are added where they meet the stream.

    makings: by layer name
    """
    running = {name: made for name, made in makings.items() if made.nodes}
    flow = _Flow(coupling.graph, running, coupling.sizes)
    several: list[tuple[_Lost, str, Branch | None]] = [
        *((lost, "", branch) for branch, lost in flow.residual()),
        *((lost, unit, None) for unit, lost in _dense(flow, coupling, joined)),
    ]
    order = {layer.name: place for place, layer in enumerate(layers)}
    several.sort(key=lambda each: order[each[0].members[0]])
    named, branches = dict[str, Block](), dict[str, Branch]()
    for lost, unit, branch in several:
        last = layers[order[lost.members[-1]]]
        name = _unused(_name(lost.members), named)
        named[name] = Block(
            name, lost.layers, lost.shared, lost.macs, last.stage, last.position, unit
        )
        if branch is not None:
            branches[name] = branch
    return tuple(named.values()), branches


def _name(layers: Sequence[str]) -> str:
    """The module that holds them, or where there is none the first and the last of them."""
    name = prefix(layers)
    return f"{layers[0]} to {layers[-1]}" if " + " in name else name


def _unused(name: str, used: Mapping[str, Block]) -> str:
    """The name, with a number behind it where other blocks have it already."""
    number, free = 2, name
    while free in used:
        number, free = number + 1, f"{name} ({number})"
    return free


@dataclass(frozen=True, eq=False)
class _Flow:
    """What depends on what in a graph.

    makings: of the layers that run, by name; sizes: bytes of each node's value for one image
    """

    graph: Graph
    makings: Mapping[str, Making]
    sizes: Mapping[int, int]

    def residual(self) -> Iterator[tuple[Branch, _Lost]]:
        """The additions of a stream and a branch with layers."""
        for node in self.graph.nodes:
            if node.index not in self.needed or not self._adds_two(node):
                continue
            stream = self._stream(node)
            if stream is None or self.sizes[node.index] != self.sizes[node.inputs[stream]]:
                continue  # the stream is broadcast
            lost = self.lost({node.index: [node.inputs[stream]]})
            if lost.members:
                yield Branch(node.index, stream), lost

    def _adds_two(self, node: Node) -> bool:
        """Whether a node is the plain sum of two values that depend on the images."""
        operands = node.args[:2]
        return (
            node.operation == "add"
            and len(node.args) == 2
            and not node.kwargs
            and all(isinstance(ref, Ref) and ref.index in self.live for ref in operands)
            and operands[0] != operands[1]
        )

    def _stream(self, node: Node) -> int | None:
        """Which operand of an addition is the stream, None where neither or both could be."""
        fork = self.dominators[node.index]
        if fork < 0:
            return None  # they come from different inputs
        passed = self._passed(fork, node.index)
        streams = [at for at, operand in enumerate(node.inputs) if operand in passed]
        if not streams and node.index in self.meetings:
            streams = [at for at in (0, 1) if self._projects(node, at)]
        return streams[0] if len(streams) == 1 else None

    def _passed(self, fork: int, end: int) -> set[int]:
        """The values between two nodes to which a path leads from the first one, past no layer."""
        passed = {fork}
        for node in self.graph.nodes[fork + 1 : end]:
            if node.index in self.live and node.index not in self.layer_at:
                reached = [i in passed for i in node.inputs if i in self.live]
                if reached and (any if node.operation == "add" else all)(reached):
                    passed.add(node.index)
        return passed

    def _projects(self, node: Node, at: int) -> bool:
        """Whether projections alone lead to an operand of an addition, and others to the other."""
        beside, across = (self.lost({node.index: [node.inputs[end]]}) for end in (1 - at, at))
        return (
            bool(beside.layers)
            and self.projections.issuperset(beside.layers)
            and (not self.projections.issuperset(across.layers))
        )

    def lost(self, reading: Mapping[int, Sequence[int]]) -> _Lost:
        """What is not needed where some nodes read these values alone."""
        gone = self.needed - _needed(self.graph, reading)
        layers, shared, macs = [], [], 0
        for name, made in self.makings.items():
            count = len(gone.intersection(made.nodes))
            macs += made.macs * count // len(made.nodes)
            if count == len(self.needed.intersection(made.nodes)) > 0:
                layers.append(name)
            elif count:
                shared.append(name)
        return _Lost(tuple(layers), tuple(shared), macs)

    @cached_property
    def live(self) -> set[int]:
        """The values that depend on the images."""
        return self.graph.varying(by_size=False)

    @cached_property
    def needed(self) -> set[int]:
        """The values on which an output depends."""
        return _needed(self.graph, {})

    @cached_property
    def layer_at(self) -> dict[int, str]:
        """Where layers run."""
        return {node: name for name, made in self.makings.items() for node in made.nodes}

    @cached_property
    def meetings(self) -> set[int]:
        """Where all branches of a fork have met."""
        return set(joins(self.graph).values())

    @cached_property
    def projections(self) -> set[str]:
        """The 1×1 convolutions that are alone on their branch."""
        return set(shortcuts(self.graph, self.makings))

    @cached_property
    def dominators(self) -> dict[int, int]:
        """The last value that each one depends on by every path from the images; −1 for none."""
        last: dict[int, int] = {}
        for node in self.graph.nodes:
            if node.index in self.live:
                before = [index for index in dict.fromkeys(node.inputs) if index in self.live]
                common = before[0] if before else -1
                for other in before[1:]:
                    while common != other:
                        high, low = max(common, other), min(common, other)
                        common, other = last[high], low
                last[node.index] = common
        return last


def _needed(graph: Graph, reading: Mapping[int, Sequence[int]]) -> set[int]:
    """The nodes on which the outputs depend; reading: what some nodes read instead of all."""
    needed = {graph.output, *graph.others}
    for node in reversed(graph.nodes):
        if node.index in needed:
            needed.update(reading.get(node.index, node.inputs))
    return needed


def _dense(flow: _Flow, coupling: Coupling, joined: Joined) -> Iterator[tuple[str, _Lost]]:
    """The units of channels that branches append to what they read."""
    users, nodes = flow.graph.users(), flow.graph.nodes
    for index in sorted(flow.live & flow.needed):
        reading = [user for user in users[index] if user in flow.needed]
        if not reading or any(nodes[user].operation not in CONCATENATIONS for user in reading):
            continue
        if index == flow.graph.output or not all(
            _reads_any(flow, index, nodes[user].inputs) for user in reading
        ):
            continue
        lost = flow.lost({user: [i for i in nodes[user].inputs if i != index] for user in reading})
        unit = _unit(coupling.labels[index], joined)
        if unit is not None and set(unit.layers) <= set(lost.layers):
            yield unit.name, lost


def _reads_any(flow: _Flow, index: int, others: Sequence[int]) -> bool:
    """Whether a value depends on one of some others."""
    before = {other for other in others if other < index and other in flow.live}
    reached = set(before)
    for node in flow.graph.nodes[min(before, default=index) : index + 1]:
        if reached.intersection(node.inputs):
            reached.add(node.index)
    return index in reached and index not in before


def _unit(labels: Any, joined: Joined) -> Unit | None:
    """The free unit whose channels are the labels of a value, all of them and no others."""
    if not isinstance(labels, Tensor):
        return None
    known = np.unique(joined.labels(labels.numpy().astype(int))).tolist()
    free = (unit for unit in joined.units if unit.kind == "free")
    return next((unit for unit in free if [*unit.labels] == known), None)
