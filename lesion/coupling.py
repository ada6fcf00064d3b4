"""Which channels fall together: labels of channels travel through the traced graph.

A layer gives its output channels fresh labels; additions and other elementwise operations unite
the labels that they meet; concatenation, padding, slicing and reshaping move them (the operation
itself is run on the labels); convolutions and linear layers read them.  An operation that is not
known ties the channels that enter it.
"""

import operator
from typing import Any

import torch
from torch import Tensor

from lesion.channels import Coupling, Edge, Making, ids
from lesion.rules import elementwise, layers, moves, norms, opaque, pooling
from lesion.rules.layers import CONVOLUTIONS, LINEAR, TRANSPOSED
from lesion.tracing import Graph, Node
from lesion.walk import Rule, Walk

__all__ = ["CONVOLUTIONS", "LINEAR", "TRANSPOSED", "Coupling", "Edge", "Making", "couple", "ids"]

RULES: dict[str, Rule] = {
    **layers.RULES,
    **elementwise.RULES,
    **moves.RULES,
    **pooling.RULES,
    **norms.RULES,
    **opaque.RULES,
}


def couple(graph: Graph, tensors: tuple[Tensor, ...]) -> Coupling:
    """Sends labels through the graph, beside the values that `tensors`, one batch, give."""
    return Walk(graph, tensors, _rule).go()


def _rule(walk: Walk, node: Node, value: Any) -> Any:
    """The answer of the rule for this call: by its name, by its tag, or that of what is unknown."""
    if node.op is operator.getitem:
        return moves.item(walk, node, value)
    if not _holds_tensor(value):
        return None
    rule = RULES.get(node.name)
    if rule is None:
        pointwise = torch.Tag.pointwise in getattr(node.op, "tags", ())
        rule = elementwise.pointwise if pointwise else opaque.unknown
    if rule in (opaque.unknown, opaque.product):
        if node.index in walk.making and node.index in walk.varying:
            return layers.weights(walk, node, value)
        layers.unfollowed(walk, node, value)
    return rule(walk, node, value)


def _holds_tensor(value: Any) -> bool:
    several = value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(one, Tensor) for one in several)
