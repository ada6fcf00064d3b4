"""Which channels fall together: labels of channels travel through the traced graph.

Every tensor carries an array of labels beside it, one number a position, of size 1 along the axes
where the label does not change.  A layer gives its output channels fresh labels; additions and
other elementwise operations unite the labels that they meet; concatenation, padding, slicing and
reshaping move them (the operation itself is run on the labels); convolutions and linear layers
read them.  An operation that is not known ties the channels that enter it.
"""

import math
import operator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lesion.tracing import Graph, Node, Ref, resolve

CONSTANT, FIXED = -1, -2  # a position of no channel; one whose channel nothing can remove

MOVES = {
    "view", "_unsafe_view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "transpose",
    "permute", "t", "slice", "select", "expand", "clone", "contiguous", "alias", "detach", "unbind",
    "split", "split_with_sizes", "chunk", "tensor_split", "roll", "flip", "repeat", "index",
    "index_select", "narrow", "movedim", "swapaxes", "pixel_shuffle", "pixel_unshuffle",
    "channel_shuffle", "expand_as", "view_as", "unfold", "cat", "stack", "pad", "constant_pad_nd",
    "lift_fresh_copy", "im2col", "slice_scatter", "select_scatter",
}  # fmt: skip
POOLS = {
    f"{kind}{d}d": d
    for kind in ("max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool",
                 "upsample_nearest", "_upsample_nearest_exact")
    for d in (1, 2, 3)
} | {"upsample_linear1d": 1, "upsample_bilinear2d": 2, "upsample_bicubic2d": 2,
     "upsample_trilinear3d": 3}  # fmt: skip
REDUCTIONS = {"mean", "sum", "amax", "amin", "max", "min", "var", "std", "prod", "logsumexp"}
ALONG = {"softmax", "log_softmax", "_softmax", "_log_softmax", "cumsum"}
PRODUCTS = {"matmul", "bmm", "mm", "einsum", "baddbmm", "addmm", "scaled_dot_product_attention"}
SUMS = {"add", "sub", "rsub"}
GATES = {"mul", "div", "glu"}
POINTWISE = {
    "dropout", "feature_dropout", "alpha_dropout", "prelu", "_to_copy", "to", "fill", "hardswish",
    "hardtanh", "hardsigmoid", "relu6", "silu", "mish", "elu", "celu", "selu", "gelu", "softplus",
    "leaky_relu", "log_sigmoid", "softsign", "rrelu", "threshold", "clamp",
}  # fmt: skip  # most of torch's elementwise operations say so by a tag, these do not
FILLS = {"zeros", "zeros_like", "new_zeros", "ones", "ones_like", "new_ones", "full", "full_like",
         "new_full", "scalar_tensor"}  # fmt: skip
CONVOLUTIONS = {"conv1d", "conv2d", "conv3d"}
TRANSPOSED = {"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}


@dataclass(frozen=True)
class Edge:
    """One operand of one operation and its labels: a place where a channel can be cut.

    role: "read" (the operation mixes channels), "norm" (it normalises over channels), "carry" (a
        depthwise layer), "sum", "gate" or "meet" (it unites them with others: in a sum, a product
        or another operation), "output"
    """

    node: int
    argument: int
    labels: Tensor
    role: str


@dataclass
class Making:
    """A layer as the trace meets it: the labels it makes and reads, and what it computes."""

    weight: str
    bias: str | None
    kind: str
    groups: int
    kernel: tuple[int, ...]
    makes: np.ndarray
    reads: np.ndarray
    nodes: list[int]
    size: tuple[int, ...]
    positions: int
    positions_in: int
    macs: int

    @property
    def depthwise(self) -> bool:
        return self.groups > 1 and self.groups == len(self.reads)


@dataclass
class Coupling:
    """What the labels tell, before those that fall together are joined.

    united: pairs of label arrays that fall together, and how: "sum", "gate", "meet" or "same"
    tied: label arrays that cannot be removed, each with the reason
    cells: (groups, channels) label arrays that must lose equally many in every row
    attention: label arrays that meet in a product of activations
    axes: the labels of every element of the parameters that no layer owns
    passive: which of the labels, as intervals, belong to such parameters
    sizes: bytes of each node's value for one image
    """

    graph: Graph
    united: list[tuple[np.ndarray, np.ndarray, str]] = field(default_factory=list)
    tied: list[tuple[np.ndarray, str]] = field(default_factory=list)
    cells: list[np.ndarray] = field(default_factory=list)
    attention: list[np.ndarray] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    makings: dict[str, Making] = field(default_factory=dict)
    axes: dict[str, Tensor] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    passive: list[tuple[int, int]] = field(default_factory=list)
    sizes: dict[int, int] = field(default_factory=dict)
    count: int = 0

    def fresh(self, shape: tuple[int, ...], passive: bool = False) -> Tensor:
        """New labels, one a position; passive ones belong to a parameter that no layer owns."""
        size = math.prod(shape)
        labels = torch.arange(self.count, self.count + size, dtype=torch.float64)
        if passive:
            self.passive.append((self.count, self.count + size))
        self.count += size
        return labels.reshape(shape)

    def active(self, labels: Tensor) -> bool:
        """Whether a layer's channels are among the labels."""
        known = labels[labels >= 0]
        return bool(len(known)) and not any(a <= float(known[0]) < b for a, b in self.passive)

    def unite(self, a: Tensor, b: Tensor, how: str) -> None:
        shape = np.broadcast_shapes(a.shape, b.shape)
        a, b = a.expand(shape), b.expand(shape)
        both = (a >= 0) & (b >= 0)
        self.united.append((ids(a[both]), ids(b[both]), how))
        for own, other in ((a, b), (b, a)):
            self.tie(own[other == FIXED], "meets values whose channels cannot be removed")

    def tie(self, labels: Tensor, reason: str) -> None:
        known = labels[labels >= 0]
        if len(known):
            self.tied.append((ids(known), reason))


def ids(labels: Tensor) -> np.ndarray:
    """Labels as a flat array of whole numbers."""
    return labels.reshape(-1).long().numpy()


def compress(labels: Tensor) -> Tensor:
    """The same labels with size 1 along every axis where they do not change."""
    for axis in range(labels.dim()):
        if labels.shape[axis] > 1:
            first = labels.narrow(axis, 0, 1)
            if bool((labels == first).all()):
                labels = first
    return labels.clone()


def couple(graph: Graph, tensors: tuple[Tensor, ...]) -> Coupling:
    """Sends labels through the graph, beside the values that `tensors`, one batch, give."""
    return _Walk(graph, tensors).go()


class _Walk:
    """One pass over the graph: values and labels of the nodes that are still needed."""

    def __init__(self, graph: Graph, tensors: tuple[Tensor, ...]) -> None:
        self.graph, self.inputs = graph, iter(tensors)
        self.images = tensors[0].shape[0]
        self.values: dict[int, Any] = {}
        self.labels: dict[int, Any] = {}
        self.out = Coupling(graph)

    def go(self) -> Coupling:
        last = self.graph.last_use()
        ends: dict[int, list[int]] = {}
        for index, end in enumerate(last):
            ends.setdefault(end, []).append(index)
        for node in self.graph.nodes:
            self._step(node)
            for index in ends.get(node.index, ()):
                self.values.pop(index, None)
                self.labels.pop(index, None)
        labels = self.labels_of(self.graph.output)
        if isinstance(labels, Tensor):
            self.out.tie(labels, "its channels are the network's outputs")
            self.out.edges.append(Edge(len(self.graph.nodes), 0, labels, "output"))
        return self.out

    def _step(self, node: Node) -> None:
        if node.kind == "input":
            self.values[node.index] = value = next(self.inputs)
            self.out.sizes[node.index] = _bytes(value) // self.images
            self.labels[node.index] = torch.full((1,) * value.dim(), float(FIXED))
        elif node.kind == "parameter":
            self.values[node.index] = self.graph.parameters[node.name]
        else:
            assert node.op is not None
            value = node.op(*resolve(node.args, self.values), **resolve(node.kwargs, self.values))
            self.values[node.index] = value
            self.out.sizes[node.index] = _bytes(value) // self.images
            self.labels[node.index] = self._rule(node, value)

    def labels_of(self, index: int) -> Any:
        """The labels of a node; a parameter gets them when first asked."""
        if index not in self.labels:
            node = self.graph.nodes[index]
            shape = tuple(self.values[index].shape)
            if node.name not in self.out.axes:
                one = math.prod(shape) <= 1
                self.out.axes[node.name] = (
                    torch.full(shape, float(CONSTANT)) if one else self.out.fresh(shape, True)
                )
            self.labels[index] = self.out.axes[node.name]
        return self.labels[index]

    def _rule(self, node: Node, value: Any) -> Any:
        name = node.name
        if node.op is operator.getitem:
            return self.labels_of(node.args[0].index)[node.args[1]]
        if not _holds_tensor(value):
            return None
        if name in CONVOLUTIONS | TRANSPOSED | {"linear"}:
            return self._layer(node, value)
        if name in MOVES:
            return self._move(node)
        if name in POOLS:
            return self._pool(node, value, POOLS[name])
        if name in REDUCTIONS:
            return self._reduce(node, value)
        if name in ALONG:
            return self._along(node, value)
        if name == "glu":
            return self._halves(node)
        if name == "copy" and not node.op._schema.is_mutable:  # type: ignore[union-attr]
            return compress(self._whole(node.args[1].index).expand(value.shape))
        if name in FILLS:
            return torch.full((1,) * value.dim(), float(CONSTANT))
        if name in ("layer_norm", "rms_norm"):
            return self._layer_norm(node)
        if name == "group_norm":
            return self._group_norm(node)
        if name in ("batch_norm", "instance_norm"):
            return self._channel_norm(node)
        tags = getattr(node.op, "tags", ())
        if torch.Tag.pointwise in tags or name in POINTWISE:
            return self._pointwise(node, value)
        return self._unknown(node, value)

    def _operands(self, node: Node) -> list[tuple[int, Tensor]]:
        """The tensor arguments as (position, labels), lists of tensors flattened."""
        found = []
        for position, argument in enumerate(node.args):
            for one in argument if isinstance(argument, (list, tuple)) else [argument]:
                if isinstance(one, Ref) and isinstance(self.values[one.index], Tensor):
                    found.append((position, self.labels_of(one.index)))
        return found

    def _unknown(self, node: Node, value: Any) -> Any:
        reason = f"enters {node.name}, behind which channels cannot be followed"
        if node.name in PRODUCTS:
            reason = f"attention: is summed against other activations in {node.name}"
        operands = [labels for _, labels in self._operands(node)]
        for labels in operands:
            if node.name in PRODUCTS and self.out.active(labels):
                self.out.attention.append(ids(labels[labels >= 0]))
            self.out.tie(labels, reason)
        if node.name not in PRODUCTS and any(map(self.out.active, operands)):
            self.out.notes.append(f"{node.module or 'the network'}: what {reason}")
        return _fixed(value)

    def _pointwise(self, node: Node, value: Tensor) -> Tensor:
        rank = value.dim()
        operands = []
        for position, labels in self._operands(node):
            ref = node.args[position]
            shape = tuple(self.values[ref.index].shape)
            if not shape:
                continue
            if node.name == "prelu" and position == 1 and shape[0] > 1:
                shape, labels = (*shape, *(1,) * (rank - 2)), labels.reshape(-1, *(1,) * (rank - 2))
            pad = (1,) * (rank - len(shape))
            operands.append((position, labels.reshape(*pad, *labels.shape), (*pad, *shape)))
        return self._meet(node, value, operands)

    def _meet(
        self, node: Node, value: Tensor, operands: list[tuple[int, Tensor, tuple[int, ...]]]
    ) -> Tensor:
        """The labels of an elementwise result: those that meet are united.

        An operand of size 1 where others have channels (a spatial gate, a scalar) is left out.
        """
        if not operands:
            return torch.full((1,) * value.dim(), float(CONSTANT))
        varying = [
            any(labels.shape[axis] > 1 for _, labels, _ in operands) for axis in range(value.dim())
        ]
        full = [
            (position, labels)
            for position, labels, shape in operands
            if all(shape[a] == value.shape[a] for a in range(value.dim()) if varying[a])
        ]
        if not full and any(varying):  # an outer product: no operand has all the channels
            for _, labels, _ in operands:
                self.out.tie(labels, f"is multiplied out in {node.name}")
            return _fixed(value)  # type: ignore[no-any-return]
        return self._join(node, _distinct(full))

    def _join(self, node: Node, operands: list[tuple[int, Tensor]]) -> Tensor:
        active = [(p, labels) for p, labels in operands if self.out.active(labels)]
        if len(active) > 1:
            role = "gate" if node.name in GATES else "sum" if node.name in SUMS else "meet"
            result = self.out.fresh(np.broadcast_shapes(*(labels.shape for _, labels in operands)))
            for position, labels in active:
                self.out.edges.append(Edge(node.index, position, labels, role))
        else:
            role, result = "same", (active or operands)[0][1]
        for _, labels in operands:
            if labels is not result:
                self.out.unite(labels, result, role)
        if not active and any((labels == FIXED).any() for _, labels in operands):
            return torch.full_like(result[(slice(0, 1),) * result.dim()], FIXED)
        return result

    def _move(self, node: Node) -> Any:
        if node.name == "cat":
            dim = node.args[1] if len(node.args) > 1 else 0
            found = self._cat(node, int(dim))
            if found is not None:
                return found
        first = node.args[0]
        single = isinstance(first, Ref)
        moved = [self._whole(ref.index) for ref in ([first] if single else first)]
        args = list(resolve(node.args, self.values))
        args[0] = moved[0] if single else moved
        if node.name in ("slice_scatter", "select_scatter"):  # y[:, 2:] = … without a trace in y
            args[1] = self._whole(node.args[1].index)
        if node.name in ("pad", "constant_pad_nd"):
            args = [args[0], args[1], *(["constant"] if node.name == "pad" else []), CONSTANT]
            if node.name == "pad" and len(node.args) > 2 and node.args[2] != "constant":
                args = [args[0], *resolve(node.args[1:3], self.values)]
        kwargs = resolve(node.kwargs, self.values)
        assert node.op is not None
        result = node.op(*args, **kwargs)
        if isinstance(result, Tensor):
            return self._settle(node, result)
        return [compress(one) for one in result]

    def _settle(self, node: Node, result: Tensor) -> Tensor:
        """Moved labels; zeros that pad along an axis without channels do not count."""
        if node.name not in ("pad", "constant_pad_nd"):
            return compress(result)
        before = self.labels_of(node.args[0].index)
        for axis in range(result.dim()):
            if before.shape[axis] == 1:
                result = result.amax(axis, keepdim=True)
        return compress(result)

    def _whole(self, index: int) -> Tensor:
        labels: Tensor = self.labels_of(index)
        return labels.expand(self.values[index].shape).contiguous()

    def _cat(self, node: Node, dim: int) -> Tensor | None:
        """Labels of a concatenation along an axis without channels (tokens, say): united."""
        parts = [(0, self.labels_of(ref.index)) for ref in node.args[0]]
        several = [labels for _, labels in parts if self.out.active(labels)]
        if not several or any(labels.shape[dim] > 1 for labels in several):
            return None
        return self._join(node, _distinct(parts))

    def _pool(self, node: Node, value: Any, dims: int) -> Any:
        labels = self.labels_of(node.args[0].index)
        if any(size > 1 for size in labels.shape[-dims:]):
            return self._unknown(node, value)
        return labels if isinstance(value, Tensor) else [labels, _fixed(value[1])]

    def _reduce(self, node: Node, value: Any) -> Any:
        labels = self.labels_of(node.args[0].index)
        named = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        if isinstance(named, Ref):  # max(a, b): elementwise
            return self._pointwise(node, value)
        axes = [named] if isinstance(named, int) else list(named or range(labels.dim()))
        if any(labels.shape[axis] > 1 for axis in axes):
            return self._unknown(node, value)
        first = value if isinstance(value, Tensor) else value[0]
        if first.dim() < labels.dim():
            for axis in sorted((axis % labels.dim() for axis in axes), reverse=True):
                labels = labels.squeeze(axis)
        return labels if isinstance(value, Tensor) else [labels, _fixed(value[1])]

    def _along(self, node: Node, value: Tensor) -> Any:
        labels = self.labels_of(node.args[0].index)
        if labels.shape[int(node.args[1])] > 1:
            return self._unknown(node, value)
        return labels

    def _halves(self, node: Node) -> Tensor:
        """A gated linear unit: the first half along an axis times a gate made of the second."""
        axis = int(node.args[1]) if len(node.args) > 1 else -1
        halves = self._whole(node.args[0].index).chunk(2, axis)
        return self._join(node, [(0, compress(half)) for half in halves])

    def _channel_norm(self, node: Node) -> Tensor:
        labels: Tensor = self.labels_of(node.args[0].index)
        if any(size > 1 for size in labels.shape[2:]):
            return self._crossed(node, labels)
        shape = (1, -1, *(1,) * (labels.dim() - 2))
        for argument in node.args[1:5]:
            if isinstance(argument, Ref):
                self.out.unite(self.labels_of(argument.index).reshape(shape), labels, "same")
        return labels

    def _crossed(self, node: Node, labels: Tensor) -> Tensor:
        """Labels off the axis whose channels a norm treats apart: batch norm leaves them alone."""
        if node.name != "batch_norm":
            self.out.tie(labels, f"does not lie on the channel axis of {node.module}")
        return labels

    def _layer_norm(self, node: Node) -> Tensor:
        labels: Tensor = self.labels_of(node.args[0].index)
        dims = len(node.args[1])
        for argument in node.args[2:4]:
            if isinstance(argument, Ref):
                self.out.unite(self.labels_of(argument.index), labels, "same")
        if any(size > 1 for size in labels.shape[-dims:]):
            self.out.edges.append(Edge(node.index, 0, labels, "norm"))
        return labels

    def _group_norm(self, node: Node) -> Tensor:
        labels = self._channel_norm(
            Node(node.index, "call", node.name, node.op, (node.args[0], *node.args[2:4]))
        )
        groups = int(node.args[1])
        if 1 <= groups < labels.shape[1]:
            self.out.edges.append(Edge(node.index, 0, labels, "norm"))
            self.out.cells.append(ids(labels).reshape(groups, -1))
        return labels

    def _layer(self, node: Node, value: Tensor) -> Tensor:
        x, w, *rest = node.args
        source = self.graph.nodes[w.index]
        labels = self.labels_of(x.index)
        axis = value.dim() - 1 if node.name == "linear" else 1
        name = source.name
        if source.kind != "parameter":
            name = self._computed(node, self.values[w.index].detach())
            self.out.tie(labels, f"is read by {node.module}, whose weights are computed each pass")
        if any(size > 1 for a, size in enumerate(labels.shape) if a != axis):
            self.out.tie(labels, f"does not lie on the channel axis of {node.module}")
            labels = torch.full((1,) * value.dim(), float(FIXED))
        made = self._making(name, node, value, rest)
        if source.kind != "parameter":  # from all of them, so that none can be taken out alone
            makes = torch.from_numpy(made.makes).double()
            self.out.tie(makes, "its layer's weights are computed in every pass")
        labels = labels.expand(*labels.shape[:axis], len(made.reads), *labels.shape[axis + 1 :])
        self._read(node, made, labels, ids(labels))
        shape = [1] * value.dim()
        shape[axis] = len(made.makes)
        return torch.from_numpy(made.makes).double().reshape(shape)

    def _read(self, node: Node, made: Making, labels: Tensor, read: np.ndarray) -> None:
        """Connects a layer with the channels it reads."""
        again = made.nodes[0] != node.index
        if again:
            self.out.unite(
                torch.from_numpy(made.reads).double(), torch.from_numpy(read).double(), "sum"
            )
        else:
            made.reads = read
        if made.groups > 1 and node.name in TRANSPOSED:
            reason = f"meets {node.module}, a grouped transposed convolution"
            self.out.tie(labels, reason)
            self.out.tie(torch.from_numpy(made.makes).double(), reason)
        role = "carry" if made.depthwise else "read"
        self.out.edges.append(Edge(node.index, 0, labels, role))
        if made.depthwise:
            follow = np.repeat(read, len(made.makes) // len(read)).astype(float)
            makes = torch.from_numpy(made.makes).double()
            self.out.unite(makes, torch.from_numpy(follow), "same")
        elif made.groups > 1:
            self.out.cells.append(read.reshape(made.groups, -1))
            if not again:
                self.out.cells.append(made.makes.reshape(made.groups, -1))

    def _computed(self, node: Node, weight: Tensor) -> str:
        """A name for a computed weight: that of its layer's own parameter, if it looks alike."""
        name = f"{node.module or node.index}.weight"
        own = self.graph.parameters.setdefault(name, weight)  # the parameter stays as it is
        if own.shape != weight.shape or name in self.out.makings:
            name = f"{node.module}.{node.index}.weight"
            self.graph.parameters[name] = weight
        return name

    def _making(self, name: str, node: Node, value: Tensor, rest: list[Any]) -> Making:
        weight = self.graph.parameters[name]
        positions, positions_in = (
            v.numel() // (self.images * v.shape[-1 if node.name == "linear" else 1])
            for v in (value, self.values[node.args[0].index])
        )
        transposed = node.name in TRANSPOSED
        macs = (positions_in if transposed else positions) * weight.numel()
        if name in self.out.makings:
            made = self.out.makings[name]
            made.nodes.append(node.index)
            made.macs += macs
            made.positions += positions
            return made
        groups = int(rest[4]) if len(rest) > 4 else 1  # after bias, stride, padding, one more
        bias = rest[0] if rest else None
        channels = weight.shape[1] * groups if transposed else weight.shape[0]
        made = Making(
            weight=name,
            bias=self.graph.nodes[bias.index].name if isinstance(bias, Ref) else None,
            kind=node.name.replace("conv_transpose", "transposed conv"),
            groups=groups,
            kernel=tuple(weight.shape[2:]),
            makes=ids(self.out.fresh((channels,))),
            reads=np.full(weight.shape[0] if transposed else weight.shape[1] * groups, CONSTANT),
            nodes=[node.index],
            size=_size(value, positions, node.name == "linear"),
            positions=positions,
            positions_in=positions_in,
            macs=macs,
        )
        self.out.makings[name] = made
        return made


def _distinct(operands: list[tuple[int, Tensor]]) -> list[tuple[int, Tensor]]:
    """The operands without those whose labels came before."""
    own: dict[tuple[int, ...], tuple[int, Tensor]] = {}
    for position, labels in operands:
        own.setdefault((*labels.shape, *labels.reshape(-1).tolist()), (position, labels))
    return list(own.values())


def _size(value: Tensor, positions: int, last: bool) -> tuple[int, ...]:
    size = tuple(value.shape[1:-1] if last else value.shape[2:])
    return size if math.prod(size) == positions else (positions,)


def _bytes(value: Any) -> int:
    several = value if isinstance(value, (list, tuple)) else [value]
    return sum(one.numel() * one.element_size() for one in several if isinstance(one, Tensor))


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(isinstance(one, Tensor) for one in value)
    return isinstance(value, Tensor)


def _fixed(value: Any) -> Any:
    if isinstance(value, Tensor):
        return torch.full((1,) * value.dim(), float(FIXED))
    return [_fixed(one) for one in value]
