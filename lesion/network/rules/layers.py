"""Convolutions and linear layers: they read the channels of their input and make new ones."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lesion.network.anatomy import CONSTANT
from lesion.network.canonical import groups_of
from lesion.network.graph import Node, Ref
from lesion.network.labels import FIXED, Edge, Making, compress, everywhere, floats, ids
from lesion.network.walk import Rule, Walk

CONVOLUTIONS = {"conv1d", "conv2d", "conv3d"}
TRANSPOSED = {"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}
LINEAR = {"linear", "transposed_linear"}
AS_IT_IS = {
    "expand",
    "broadcast_to",
    "unsqueeze",
    "repeat",
    "transpose",
    "permute",
    "t",
    "view",
    "reshape",
    "contiguous",
    "clone",
    "to",
    "_to_copy",
}


def layer(walk: Walk, node: Node, value: Tensor) -> Tensor:
    """Fresh labels for the channels that a layer makes, once those that it reads are connected."""
    x, w, *rest = node.args
    labels = walk.labels_of(x.index)
    kinds = [walk.graph.nodes[ref.index].kind for ref in (w, *rest[:1]) if isinstance(ref, Ref)]
    if set(kinds) != {"parameter"} or isinstance(groups_of(node), Ref):
        return _dynamic(walk, node, value)
    source = walk.graph.nodes[w.index]
    last = node.name in LINEAR
    axis = value.dim() - 1 if last else 1
    labels = _on_axis(walk, node, labels, axis)
    made = _making(walk, source, node, value, rest)
    if use := walk.shared.get(source.name):
        why = f"its layer's weight is used in {use} too, in another role"
        walk.out.tie(floats(made.makes), why)
        walk.out.tie(labels, f"is read by a layer whose weight is used in {use} too")
    labels = labels.expand(*labels.shape[:axis], len(made.reads), *labels.shape[axis + 1 :])
    _read(walk, node, made, labels)
    _turned_round(walk, source, made)
    shape = [1] * value.dim()
    shape[axis] = len(made.makes)
    return floats(made.makes).reshape(shape)


def _on_axis(walk: Walk, node: Node, labels: Tensor, axis: int) -> Tensor:
    """Labels that change along the channel axis alone.

    What lies in one channel, as behind a pixel shuffle, falls together; what a layer makes is tied
    where it does not lie on that axis, and parameters that do not, such as coordinates, are
    channels that stay.
    """
    if not _off_axis(labels, axis):
        return labels
    if (by_channel := walk.out.by_place(labels, axis)) is not None:
        return by_channel
    reason = f"does not lie on the channel axis of {node.module or node.name}"
    passive = torch.ones(labels.shape, dtype=torch.bool)
    for label in walk.out.of_layers(labels):
        passive &= labels != label
    walk.out.tie(labels[passive], reason)
    labels = compress(labels.masked_fill(passive & (labels >= 0), CONSTANT))
    if _off_axis(labels, axis):
        walk.out.tie(labels, reason)
        return everywhere(FIXED, labels.dim())
    return labels


def _off_axis(labels: Tensor, axis: int) -> bool:
    return any(size > 1 for a, size in enumerate(labels.shape) if a != axis)


def _turned_round(walk: Walk, source: Node, made: Making) -> None:
    """Connects a layer with one that has the same weight, with inputs and outputs exchanged."""
    if len(source.args) != 1 or source.name in walk.shared:
        return
    name = walk.graph.nodes[source.args[0].index].name
    twin = walk.out.makings.get(name) if name != source.name else None
    if twin is None or walk.graph.parameters[name] is not walk.graph.parameters[source.name]:
        return
    if (twin.reads < 0).any():
        reason = f"its weight is that of a {twin.kind} too, whose inputs cannot be removed"
        walk.out.tie(floats(made.makes), reason)
    walk.out.unite(floats(twin.makes), floats(made.reads), "sum")
    walk.out.unite(floats(twin.reads), floats(made.makes), "sum")


def _dynamic(walk: Walk, node: Node, value: Tensor) -> Tensor:
    """A layer with weights, or groups, that depend on the images: a record that cannot be cut."""
    where = node.module or node.name
    for _, labels in walk.operands(node):
        walk.out.tie(labels, f"is read by {where}, whose weights depend on the images")
    weight, shape = walk.values[node.args[1].index].detach(), value.shape
    images = walk.images  # they may lie beside the channels, in groups
    channels = shape[-1] if node.name in LINEAR else shape[0] * shape[1] // images
    name = _free(walk, f"{where}.{node.name}.weight")
    walk.graph.parameters[name] = weight = weight[: max(channels, 1)]
    _record(walk, node, name, weight, value, "its layer's weights depend on the images")
    return everywhere(FIXED, value.dim())


def weights(walk: Walk, node: Node, value: Tensor) -> Tensor:
    """Weights that are computed from activations: these cannot be followed into them.

    Parameters that serve for nothing else, such as one with the weights of many experts, belong to
    no channel, and get no labels.
    """
    for _, index in walk.tensors(node):
        if walk.graph.nodes[index].kind != "parameter" or index not in walk.making:
            reason = f"makes weights of a layer in {node.name}"
            walk.out.tie(walk.labels_of(index), reason)
    return everywhere(FIXED, value.dim())


def unfollowed(walk: Walk, node: Node, value: Any) -> None:
    """Records for the weights of an operation that is not taken apart, such as an LSTM."""
    first = value if isinstance(value, Tensor) else next(v for v in value if isinstance(v, Tensor))
    if node.index not in walk.varying or not first.is_floating_point():
        return
    for index in dict.fromkeys(_turned_back(walk, index) for index in node.inputs):
        source = walk.graph.nodes[index]
        weight = walk.graph.parameters[source.name] if source.kind == "parameter" else first
        wide = sum(size > 1 for size in weight.shape[:2]) == 2 and weight.is_floating_point()
        if source.kind == "parameter" and wide and source.name not in walk.out.makings:
            reason = f"its layer runs as {node.name}, which is not taken apart"
            _record(walk, node, source.name, weight, first, reason)


def _turned_back(walk: Walk, index: int) -> int:
    """The parameter that a value is, expanded or turned; the value itself where it is none."""
    at = index
    while (node := walk.graph.nodes[at]).operation in AS_IT_IS and at not in walk.varying:
        at = node.inputs[0]
    return at if walk.graph.nodes[at].kind == "parameter" else index


def _record(walk: Walk, node: Node, name: str, weight: Tensor, value: Tensor, reason: str) -> None:
    """A layer that is there, but of which nothing can be removed."""
    positions = max(value.numel() // (walk.images * max(len(weight), 1)), 1)
    made = Making(
        weight=name,
        bias=None,
        kind=node.name,
        groups=1,
        kernel=tuple(weight.shape[2:]),
        makes=ids(walk.out.fresh((len(weight),))),
        reads=np.full(weight.shape[1], CONSTANT),
        nodes=[node.index],
        size=(positions,),
        positions=positions,
        positions_in=positions,
        macs=positions * weight.numel(),
        module=node.module,
    )
    walk.out.makings[name] = made
    walk.out.tie(floats(made.makes), reason)


def _free(walk: Walk, name: str) -> str:
    number, candidate = 1, name
    while candidate in walk.graph.parameters:
        number, candidate = number + 1, f"{name}.{number + 1}"
    return candidate


def _making(walk: Walk, source: Node, node: Node, value: Tensor, rest: list[Any]) -> Making:
    """The layer's record: a new one, or the one there is with this call added."""
    name = source.name
    weight = walk.graph.parameters[name]
    positions, positions_in = (
        v.numel() // (walk.images * v.shape[-1 if node.name in LINEAR else 1])
        for v in (value, walk.values[node.args[0].index])
    )
    transposed = node.name in TRANSPOSED
    wide = node.name in TRANSPOSED | {"transposed_linear"}
    macs = (positions_in if transposed else positions) * weight.numel()
    bias = rest[0] if rest else None
    if name in walk.out.makings:
        made = walk.out.makings[name]
        made.nodes.append(node.index)
        made.macs += macs
        made.positions += positions
        if isinstance(bias, Ref) and walk.graph.nodes[bias.index].name != made.bias:
            walk.out.unite(walk.labels_of(bias.index), floats(made.makes), "same")
        return made
    groups = groups_of(node)
    channels = weight.shape[1] * groups if wide else weight.shape[0]
    made = Making(
        weight=name,
        bias=walk.graph.nodes[bias.index].name if isinstance(bias, Ref) else None,
        kind=node.name.replace("conv_transpose", "transposed conv").replace("_", " "),
        groups=groups,
        kernel=tuple(weight.shape[2:]),
        makes=ids(walk.out.fresh((channels,))),
        reads=np.full(weight.shape[0] if wide else weight.shape[1] * groups, CONSTANT),
        nodes=[node.index],
        size=_size(value, positions, node.name in LINEAR),
        positions=positions,
        positions_in=positions_in,
        macs=macs,
        size_in=_size(walk.values[node.args[0].index], positions_in, node.name in LINEAR),
        module=source.module if source.args else "",
    )
    _share_bias(walk, made)
    walk.out.makings[name] = made
    return made


def _share_bias(walk: Walk, made: Making) -> None:
    """Layers with one bias between them lose the same channels."""
    for known in walk.out.makings.values():
        if made.bias is not None and known.bias == made.bias:
            walk.out.unite(floats(known.makes), floats(made.makes), "sum")


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


RULES: dict[str, Rule] = dict.fromkeys(CONVOLUTIONS | TRANSPOSED | LINEAR, layer)
