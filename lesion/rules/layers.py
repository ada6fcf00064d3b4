"""Convolutions and linear layers: they read the channels of their input and make new ones."""

import math
from typing import Any

import numpy as np
from torch import Tensor

from lesion.anatomy import CONSTANT
from lesion.channels import FIXED, Edge, Making, everywhere, floats, ids
from lesion.tracing import Node, Ref
from lesion.walk import Rule, Walk

CONVOLUTIONS = {"conv1d", "conv2d", "conv3d"}
TRANSPOSED = {"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}


def layer(walk: Walk, node: Node, value: Tensor) -> Tensor:
    """Fresh labels for the channels that a layer makes, once those that it reads are connected."""
    x, w, *rest = node.args
    source = walk.graph.nodes[w.index]
    labels = walk.labels_of(x.index)
    axis = value.dim() - 1 if node.name == "linear" else 1
    name = source.name
    if source.kind != "parameter":
        name = _computed(walk, node, walk.values[w.index].detach())
        walk.out.tie(labels, f"is read by {node.module}, whose weights are computed each pass")
    if any(size > 1 for a, size in enumerate(labels.shape) if a != axis):
        walk.out.tie(labels, f"does not lie on the channel axis of {node.module}")
        labels = everywhere(FIXED, value.dim())
    made = _making(walk, name, node, value, rest)
    if source.kind != "parameter":  # from all of them, so that none can be taken out alone
        walk.out.tie(floats(made.makes), "its layer's weights are computed in every pass")
    labels = labels.expand(*labels.shape[:axis], len(made.reads), *labels.shape[axis + 1 :])
    _read(walk, node, made, labels)
    shape = [1] * value.dim()
    shape[axis] = len(made.makes)
    return floats(made.makes).reshape(shape)


def _computed(walk: Walk, node: Node, weight: Tensor) -> str:
    """A name for a computed weight: that of its layer's own parameter, if it looks alike."""
    name = f"{node.module or node.index}.weight"
    own = walk.graph.parameters.setdefault(name, weight)  # the parameter stays as it is
    if own.shape != weight.shape or name in walk.out.makings:
        name = f"{node.module}.{node.index}.weight"
        walk.graph.parameters[name] = weight
    return name


def _making(walk: Walk, name: str, node: Node, value: Tensor, rest: list[Any]) -> Making:
    """The layer's record: a new one, or the one there is with this call added."""
    weight = walk.graph.parameters[name]
    positions, positions_in = (
        v.numel() // (walk.images * v.shape[-1 if node.name == "linear" else 1])
        for v in (value, walk.values[node.args[0].index])
    )
    transposed = node.name in TRANSPOSED
    macs = (positions_in if transposed else positions) * weight.numel()
    if name in walk.out.makings:
        made = walk.out.makings[name]
        made.nodes.append(node.index)
        made.macs += macs
        made.positions += positions
        return made
    groups = int(rest[4]) if len(rest) > 4 else 1  # after bias, stride, padding, one more
    bias = rest[0] if rest else None
    channels = weight.shape[1] * groups if transposed else weight.shape[0]
    made = Making(
        weight=name,
        bias=walk.graph.nodes[bias.index].name if isinstance(bias, Ref) else None,
        kind=node.name.replace("conv_transpose", "transposed conv"),
        groups=groups,
        kernel=tuple(weight.shape[2:]),
        makes=ids(walk.out.fresh((channels,))),
        reads=np.full(weight.shape[0] if transposed else weight.shape[1] * groups, CONSTANT),
        nodes=[node.index],
        size=_size(value, positions, node.name == "linear"),
        positions=positions,
        positions_in=positions_in,
        macs=macs,
    )
    walk.out.makings[name] = made
    return made


def _size(value: Tensor, positions: int, last: bool) -> tuple[int, ...]:
    size = tuple(value.shape[1:-1] if last else value.shape[2:])
    return size if math.prod(size) == positions else (positions,)


def _read(walk: Walk, node: Node, made: Making, labels: Tensor) -> None:
    """Connects a layer with the channels it reads."""
    read = ids(labels)
    again = made.nodes[0] != node.index
    if again:
        walk.out.unite(floats(made.reads), floats(read), "sum")
    else:
        made.reads = read
    role = "carry" if made.depthwise else "read"
    walk.out.edges.append(Edge(node.index, 0, labels, role))
    if made.depthwise:
        follow = np.repeat(read, len(made.makes) // len(read))
        walk.out.unite(floats(made.makes), floats(follow), "same")
    elif made.groups > 1:
        walk.out.cells.append(read.reshape(made.groups, -1))
        if not again:
            walk.out.cells.append(made.makes.reshape(made.groups, -1))


RULES: dict[str, Rule] = dict.fromkeys(CONVOLUTIONS | TRANSPOSED | {"linear"}, layer)
