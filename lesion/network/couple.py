"""Which channels fall together: labels of channels travel through the traced graph.

A layer gives its output channels fresh labels; additions and other elementwise operations unite
the labels that they meet; concatenation, padding, slicing and reshaping move them (the operation
itself is run on the labels); convolutions and linear layers read them; products of activations keep
them, or sum over them.  An operation that is not known ties the channels that enter it, and so does
one whose rule loses sight of them.
"""

import operator
from typing import Any

import torch
from torch import Tensor

from lesion.network.graph import Graph, Node
from lesion.network.labels import Coupling, floats
from lesion.network.lost_labels import Noted, tie_lost
from lesion.network.rules import (
    elementwise,
    layers,
    moves,
    norms,
    opaque,
    pools,
    products,
    reductions,
)
from lesion.network.walk import Rule, Walk

RULES: dict[str, Rule] = {
    **opaque.RULES,
    **layers.RULES,
    **elementwise.RULES,
    **moves.RULES,
    **pools.RULES,
    **reductions.RULES,
    **products.RULES,
    **norms.RULES,
}
# their first argument may lose positions: it is sliced, overwritten, or gives its shape alone
MOVING: tuple[Rule, ...] = (*moves.RULES.values(), moves.item, elementwise.copy, opaque.fill)
INDEXED: tuple[Rule, ...] = (moves.move, moves.repeated)  # others say where positions go
UNFOLLOWED: tuple[Rule, ...] = (opaque.unknown, opaque.product, *products.RULES.values())
# that are given sizes or places, which may be a forward's own numbers of channels
NUMBERED = {
    *("view", "_unsafe_view", "reshape", "unflatten", "split", "split_with_sizes", "tensor_split"),
    *("slice", "narrow", "select", "expand", "pad", "constant_pad_nd", "index", "index_select"),
}
VIEWS = {"view", "_unsafe_view", "reshape", "expand"}
SHAPED = {"expand_as", "view_as", "reshape_as", "type_as"}  # by their second argument


def couple(graph: Graph, tensors: tuple[Tensor, ...], *, scored: bool = True) -> Coupling:
    """Sends labels through the graph, beside the values that `tensors`, one batch, give.

    scored: whether layers are tied that the output that is scored does not depend on
    """
    walk = Walk(graph, tensors, _rule)
    coupling = walk.go()
    coupling.labels = walk.labels
    reaching = graph.reaching if scored else set(range(len(graph.nodes)))
    for made in coupling.makings.values():
        if not reaching.intersection(made.nodes):
            reason = "reaches another output than the one that is scored"
            coupling.tie(floats(made.makes), reason)
    return coupling


def couple_again(graph: Graph, tensors: tuple[Tensor, ...], known: Coupling) -> None:
    """Adds what the labels of another graph of the same network tell."""
    Walk(graph, tensors, _rule, known).go()


def _rule(walk: Walk, node: Node, value: Any) -> Any:
    """The answer of the call's rule, and ties for what it does not account for."""
    rule, before = _chosen(walk, node, value), Noted.by(walk.out)
    if rule in UNFOLLOWED:
        layers.unfollowed(walk, node, value)
    labels = rule(walk, node, value)
    if node.name in NUMBERED and rule in (moves.move, moves.pad):
        _note_numbers(walk, node, labels)
    if value is not None and node.name not in SHAPED:
        tie_lost(walk, node, before, () if rule in INDEXED else labels, rule in MOVING)
    return labels


def _note_numbers(walk: Walk, node: Node, labels: Any) -> None:
    """Notes channels whose axis is given a size, where -1 would stand for whatever there is, or
    that are cut or padded at given places."""
    source = walk.labels_of(node.args[0].index)
    if node.name in VIEWS and isinstance(node.args[1], (list, tuple)):
        sizes = node.args[1]
        along = [size for size, n in zip(sizes, labels.shape, strict=True) if n > 1]
        if not any(isinstance(size, int) and size >= 0 for size in along):
            return
    elif isinstance(labels, Tensor) and source.squeeze().equal(labels.squeeze()):
        return
    walk.out.numbered.append(walk.out.of_layers(source))


def _chosen(walk: Walk, node: Node, value: Any) -> Rule:
    """The rule for a call: by its name, by its tag, or that of what is unknown."""
    if node.op is operator.getitem:
        return moves.item
    if not _holds_tensor(value):
        return opaque.number
    rule = RULES.get(node.name)
    if rule is None:
        pointwise = torch.Tag.pointwise in getattr(node.op, "tags", ())
        rule = elementwise.pointwise if pointwise else opaque.unknown
    makes_weights = node.index in walk.making and node.index in walk.varying
    return layers.weights if makes_weights and rule in UNFOLLOWED else rule


def _holds_tensor(value: Any) -> bool:
    several = value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(element, Tensor) for element in several)
