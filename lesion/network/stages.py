"""Where a layer stands: Li's numbers, blocks, stages and the positions that tend to hurt.

A block is the span from a fork to the node where all its branches have met again (its immediate
post-dominator), if they meet in an addition or a concatenation and a layer lies between; where
several forks meet in one node, as in DenseNet, each stretch from one fork to the next is a block.
A stage is a maximal run of blocks, or of layers outside blocks, with equal output feature maps in
order of execution; numbered from the first that holds a block (from the first of all where there
are no blocks), so that a stem before it is stage 0.  Numbers follow the order of execution and
leave out projection shortcuts: 1×1 convolutions that are alone on their branch (Li et al. 2017).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile

from lesion.network.graph import Graph
from lesion.network.labels import Making

MEETINGS = {"add", "cat", "stack", "sub", "add_"}


@dataclass(frozen=True)
class Place:
    """A layer's number, stage, block and position."""

    number: int | None
    stage: int | None
    block: str | None
    position: tuple[str, ...]


@dataclass(frozen=True)
class _Item:
    """A block or a layer outside blocks, with the pixels it gives and the pixels it took."""

    layers: tuple[str, ...]
    block: str | None
    positions: int
    positions_in: int


def places(graph: Graph, makings: Mapping[str, Making]) -> dict[str, Place]:
    """The place of every layer; `makings` by layer name, in order of execution."""
    running = {name: made for name, made in makings.items() if made.nodes}
    layer_at = {node: name for name, made in running.items() for node in made.nodes}
    spans = blocks(graph, layer_at)
    inside = {name: span for span in sorted(spans, key=len, reverse=True) for name in span}
    projections = set(shortcuts(graph, running))
    items = list(_items(running, inside, projections))
    stages = _stages(items)
    number = 0
    by_layer = {name: Place(None, None, None, ()) for name in makings}
    for name in running:
        number += name not in projections
        stage, item, position = stages[name]
        by_layer[name] = Place(None if name in projections else number, stage, item.block, position)
    return by_layer


def blocks(graph: Graph, layer_at: Mapping[int, str]) -> list[tuple[str, ...]]:
    """The layers of each block, in order of execution."""
    meeting = joins(graph)
    spans = []
    for join in sorted(set(meeting.values())):
        forks = sorted(fork for fork, met in meeting.items() if met == join)
        for fork, end in zip(forks, [*forks[1:], join], strict=True):
            within = _between(graph, fork, end)
            layers = tuple(dict.fromkeys(layer_at[n] for n in sorted(within) if n in layer_at))
            if layers:
                spans.append(layers)
    return spans


def joins(graph: Graph) -> dict[int, int]:
    """For each fork the addition or concatenation in which all its branches have met."""
    users = _live_users(graph)
    meet = _post_dominators(graph, users)
    return {
        fork: meet[fork]
        for fork in range(len(graph.nodes))
        if len(users[fork]) > 1
        and meet[fork] < len(graph.nodes)
        and graph.nodes[meet[fork]].name in MEETINGS
    }


def _live_users(graph: Graph) -> list[list[int]]:
    """The users of each node through which the input reaches the output; none of parameters."""
    live = [False] * len(graph.nodes)
    for node in graph.nodes:
        live[node.index] = node.kind == "input" or (
            not node.name.startswith("sym_") and any(live[i] for i in node.inputs)
        )
    users: list[list[int]] = [[] for _ in graph.nodes]
    needed = {graph.output}
    for node in reversed(graph.nodes):
        if node.index in needed:
            for index in dict.fromkeys(node.inputs):
                if live[index]:
                    users[index].append(node.index)
                    needed.add(index)
    return [sorted(consumers) for consumers in users]


def _post_dominators(graph: Graph, users: Sequence[Sequence[int]]) -> list[int]:
    """The first node after each that every path to the output passes; one past the last: none."""
    end = len(graph.nodes)
    meet = [end] * (end + 1)
    for index in reversed(range(end)):
        common: int | None = None
        for user in users[index]:
            common = user if common is None else _common(common, user, meet)
        meet[index] = end if common is None else common
    return meet


def _common(a: int, b: int, meet: Sequence[int]) -> int:
    while a != b:
        if a < b:
            a = meet[a]
        else:
            b = meet[b]
    return a


def _between(graph: Graph, fork: int, end: int) -> set[int]:
    """The nodes after a fork that it reaches, up to `end`."""
    reached = {fork}
    for node in graph.nodes[fork + 1 : end + 1]:
        if any(index in reached for index in node.inputs):
            reached.add(node.index)
    return reached - {fork}


def shortcuts(graph: Graph, makings: Mapping[str, Making]) -> Iterator[str]:
    """The 1×1 convolutions that lie alone on a branch beside another with layers, up to a sum."""
    layer_at = {node: name for name, made in makings.items() for node in made.nodes}
    sums = {fork: met for fork, met in joins(graph).items() if graph.nodes[met].name == "add"}
    users = _live_users(graph)
    for fork, join in sums.items():
        branches = [_layers_from(start, join, users, layer_at) for start in users[fork]]
        alone = {
            name
            for branch in branches
            for name in branch
            if len(branch) == 1 and makings[name].kernel and math.prod(makings[name].kernel) == 1
        }
        if set().union(*branches) - alone:
            yield from alone


def _layers_from(
    start: int, join: int, users: Sequence[Sequence[int]], layer_at: Mapping[int, str]
) -> set[str]:
    seen, todo = set(), [start]
    while todo:
        node = todo.pop()
        if node < join and node not in seen:
            seen.add(node)
            todo.extend(users[node])
    return {layer_at[node] for node in seen if node in layer_at}


def _items(
    makings: Mapping[str, Making], inside: Mapping[str, tuple[str, ...]], projections: set[str]
) -> Iterator[_Item]:
    done: set[tuple[str, ...]] = set()
    for name, made in makings.items():
        span = inside.get(name)
        if span is None:
            yield _Item((name,), None, made.positions, made.positions_in)
        elif span not in done:
            done.add(span)
            layers = tuple(layer for layer in span if inside[layer] == span)
            body = [makings[layer] for layer in layers if layer not in projections]
            body = body or [makings[layer] for layer in layers]  # around a block of its own
            yield _Item(layers, prefix(layers), body[-1].positions, body[0].positions_in)


def prefix(names: Sequence[str]) -> str:
    """The module that holds all the layers; their own names joined where there is none."""
    paths = [name.split(".") for name in names]
    if len(paths) == 1:
        paths = [paths[0][:-1]]  # of several one may hold the others, as attention does
    columns = zip(*paths, strict=False)
    common = [parts[0] for parts in takewhile(lambda parts: len(set(parts)) == 1, columns)]
    return ".".join(common) or " + ".join(names)


def _stages(items: Sequence[_Item]) -> dict[str, tuple[int | None, _Item, tuple[str, ...]]]:
    sizes = _sizes(items)
    runs = [
        [item for item, _ in run]
        for _, run in groupby(zip(items, sizes, strict=True), key=lambda pair: pair[1])
    ]
    first = next((i for i, run in enumerate(runs) if any(item.block for item in run)), 0)
    keys = [size for size, _ in groupby(sizes)]
    by_layer = {}
    for index, (run, size) in enumerate(zip(runs, keys, strict=True)):
        stage = None if size == 0 else max(index - first + 1, 0)
        blocks_only = [item for item in run if item.block] or run
        for item in run:
            position = _position(item, blocks_only) if stage else ()
            for name in item.layers:
                by_layer[name] = (stage, item, position)
    return by_layer


def _sizes(items: Sequence[_Item]) -> list[int]:
    """Pixels each item gives; one that gives a single one (a gate) counts as what follows it.

    0 for those at the end, which no feature map follows: the head.
    """
    sizes, following = [], 0
    for item in reversed(items):
        following = item.positions if item.positions > 1 else following
        sizes.append(following)
    return sizes[::-1]


def _position(item: _Item, run: Sequence[_Item]) -> tuple[str, ...]:
    marks = (
        ("first of stage", item is run[0]),
        ("last of stage", item is run[-1]),
        ("down-sampling", 1 < item.positions < item.positions_in),
    )
    return tuple(text for text, holds in marks if holds)
