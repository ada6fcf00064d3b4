"""Normalisation: its parameters follow the channels, and one over channels has to know of them."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lesion.network.graph import Node, Ref
from lesion.network.labels import Edge, ids
from lesion.network.walk import Rule, Walk


def channel_norm(walk: Walk, node: Node, value: Tensor) -> Tensor:
    """Batch norm and instance norm, which treat every channel apart."""
    return _follow(walk, node, node.args[1:5])


def group_norm(walk: Walk, node: Node, value: Tensor) -> Tensor:
    """Group norm: statistics over the channels of a group, so that groups must stay equal."""
    labels = _follow(walk, node, node.args[2:4])
    groups = int(node.args[1])
    if 1 <= groups < labels.shape[1]:
        walk.out.edges.append(Edge(node.index, 0, labels, "norm"))
        walk.out.cells.append(ids(labels).reshape(groups, -1))
    return labels


def layer_norm(walk: Walk, node: Node, value: Tensor) -> Tensor:
    """Layer norm and RMS norm: statistics over the last axes, channels among them or not."""
    labels: Tensor = walk.labels_of(node.args[0].index)
    dims = len(node.args[1])
    for argument in node.args[2:4]:
        if isinstance(argument, Ref):
            walk.out.unite(walk.labels_of(argument.index), labels, "same")
    if any(size > 1 for size in labels.shape[-dims:]):
        walk.out.edges.append(Edge(node.index, 0, labels, "norm"))
    return labels


def _follow(walk: Walk, node: Node, parameters: Sequence[Any]) -> Tensor:
    """The labels of what is normalised, the parameters on axis 1 united with them."""
    labels: Tensor = walk.labels_of(node.args[0].index)
    if any(size > 1 for size in labels.shape[2:]):
        by_channel = walk.out.by_place(labels, 1)
        if by_channel is None:
            return _crossed(walk, node, labels)
        labels = by_channel
    shape = (1, -1, *(1,) * (labels.dim() - 2))
    for argument in parameters:
        if isinstance(argument, Ref):
            walk.out.unite(walk.labels_of(argument.index).reshape(shape), labels, "same")
    return labels


def _crossed(walk: Walk, node: Node, labels: Tensor) -> Tensor:
    """Labels off the axis whose channels a norm treats apart: batch norm leaves them alone."""
    if node.name != "batch_norm":
        walk.out.tie(labels, f"does not lie on the channel axis of {node.module}")
    return labels


RULES: dict[str, Rule] = {
    **dict.fromkeys(("batch_norm", "instance_norm"), channel_norm),
    **dict.fromkeys(("layer_norm", "rms_norm"), layer_norm),
    "group_norm": group_norm,
}
