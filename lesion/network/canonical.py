"""Lowering: layers in one form, whatever operation they were written with.

A product of activations with a matrix of parameters is a linear layer, and `convolution` is one of
the convolutions.  A parameter that two layers use in different roles has a name for each.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lesion.network.constants import WEIGHTED, Constants, folded, new_name
from lesion.network.graph import Graph, Node, Ref, resolve
from lesion.network.rewrite import Builder

aten = torch.ops.aten
TURNED = {"t", "transpose", "permute", "mT", "numpy_T", "swapaxes", "swapdims", "adjoint"}


def transposed_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A linear layer whose weight has its inputs on axis 0."""
    out = torch.matmul(x, weight)
    return out if bias is None else out + bias


def lowered(graph: Graph) -> Graph:
    """The graph with its layers in one form, one parameter for each role of a weight."""
    return _in_roles(folded(_formed(graph)))


def _formed(graph: Graph) -> Graph:
    if not any(node.operation in FORMS for node in graph.nodes):
        return graph
    builder, constants, making = Builder(graph), Constants(graph), making_weights(graph)
    for node in graph.nodes:
        form = FORMS.get(node.operation) if node.index not in making else None
        formed = form(builder, constants, node) if form else None
        builder.refs[node.index] = formed or builder.copy(node)
    return builder.built()


def making_weights(graph: Graph) -> set[int]:
    """The nodes whose values end in the weight of a layer and nowhere else."""
    users, making = graph.users(), set[int]()
    for node in reversed(graph.nodes):
        readers = [graph.nodes[index] for index in users[node.index]]
        if readers and all(r.index in making or _weighs(r, node.index) for r in readers):
            making.add(node.index)
    return making


def _weighs(node: Node, index: int) -> bool:
    """Whether a call takes a value as its weight."""
    known = WEIGHTED | {"convolution", "_convolution"}
    return node.operation in known and node.args[1] == Ref(index)


Form = Callable[[Builder, Constants, Node], Ref | None]


def _product(builder: Builder, constants: Constants, node: Node) -> Ref | None:
    """x · w and w · x with a matrix of parameters w."""
    x, w = node.args[:2]
    if _matrix(constants, w) and x not in constants:
        return _linear(builder, constants, node, x, w, None, turned=True)
    if _matrix(constants, x) and w not in constants:
        last = builder.call(node, "movedim", aten.movedim.int, builder.refs[w.index], -2, -1)
        made = builder.call(node, "linear", aten.linear.default, last, builder.refs[x.index])
        return builder.call(node, "movedim", aten.movedim.int, made, -1, -2)
    return None


def _product_and_sum(builder: Builder, constants: Constants, node: Node) -> Ref | None:
    """b + x · w."""
    b, x, w = node.args[:3]
    plain = not node.kwargs and b in constants and constants[b.index].dim() == 1
    if plain and _matrix(constants, w) and x not in constants:
        return _linear(builder, constants, node, x, w, b, turned=True)
    return None


def _turned_linear(builder: Builder, constants: Constants, node: Node) -> Ref | None:
    """A linear layer with a parameter that is turned first."""
    x, w, *bias = node.args
    if w in constants and _turns(builder.graph.nodes[w.index], constants):
        return _linear(builder, constants, node, x, w, bias[0] if bias else None, turned=False)
    return None


def _linear(
    builder: Builder,
    constants: Constants,
    node: Node,
    x: Ref,
    w: Ref,
    bias: Ref | None,
    *,
    turned: bool,
) -> Ref:
    """A linear layer; turned: its weight has the inputs on axis 0."""
    source = builder.graph.nodes[w.index]
    if _turns(source, constants):
        w, turned = source.args[0], not turned
    name, op = ("transposed_linear", transposed_linear) if turned else ("linear", F.linear)
    rest = [] if bias is None else [builder.refs[bias.index]]
    return builder.call(node, name, op, builder.refs[x.index], builder.refs[w.index], *rest)


def _matrix(constants: Constants, ref: Any) -> bool:
    """Whether a value is a matrix of parameters, or computed from parameters alone."""
    if ref not in constants:
        return False
    value = constants[ref.index]
    return isinstance(value, Tensor) and value.dim() == 2 and value.is_floating_point()


def _turns(node: Node, constants: Constants) -> bool:
    """Whether a node is a parameter's matrix with its two axes exchanged."""
    if node.operation not in TURNED or not isinstance(node.args[0], Ref):
        return False
    before = constants.graph.nodes[node.args[0].index]
    value = constants[node.index]
    same = before.kind == "parameter" and value.dim() == 2
    return same and value.stride() == constants[before.index].t().stride()


def _einsum(builder: Builder, constants: Constants, node: Node) -> Ref | None:
    """A sum over one axis of activations against a matrix of parameters; any other with its
    operands one by one, so that each has a place among the arguments."""
    equation, operands = str(node.args[0]).replace(" ", ""), node.args[1]
    apart = [builder.refs[operand.index] for operand in operands]
    if len(operands) != 2 or "->" not in equation or "." in equation:
        return builder.call(node, "einsum", torch.einsum, equation, *apart)
    (*sides, out) = equation.replace("->", ",").split(",")
    if _matrix(constants, operands[0]):
        sides, operands = sides[::-1], operands[::-1]
    x, w = operands
    if not _matrix(constants, w) or x in constants or not _is_linear(sides[0], sides[1], out):
        return builder.call(node, "einsum", torch.einsum, equation, *apart)
    (summed,) = set(sides[1]) - set(out)
    (made,) = set(sides[1]) - {summed}
    at = sides[0].index(summed)
    last = builder.call(node, "movedim", aten.movedim.int, builder.refs[x.index], at, -1)
    builder.refs[x.index], before = last, builder.refs[x.index]
    layer = _linear(builder, constants, node, x, w, None, turned=sides[1][0] == summed)
    builder.refs[x.index] = before
    axes = sides[0].replace(summed, "") + made
    return builder.call(node, "permute", aten.permute.default, layer, [axes.index(a) for a in out])


def _is_linear(x: str, w: str, out: str) -> bool:
    """Whether "x,w->out" sums over one axis, which one new axis takes the place of."""
    distinct = all(len(set(side)) == len(side) for side in (x, w, out))
    summed, made = set(x) & set(w), set(w) - set(x)
    return distinct and len(summed) == len(made) == 1 and set(out) == set(x) - summed | made


def _convolution(builder: Builder, constants: Constants, node: Node) -> Ref | None:
    """The convolution that the general operation stands for."""
    x, w, bias, stride, padding, dilation, transposed, output_padding, groups = node.args[:9]
    dims = len(stride)
    if dims not in (1, 2, 3):
        return None
    ends = [output_padding, groups, dilation] if transposed else [dilation, groups]
    name = f"conv_transpose{dims}d" if transposed else f"conv{dims}d"
    overload = "input" if transposed and dims > 1 else "default"
    op = getattr(getattr(aten, name), overload)
    given = [x, w, bias, stride, padding, *ends]
    return builder.call(node, name, op, *resolve(given, builder.refs))


FORMS: dict[str, Form] = {
    **dict.fromkeys(("matmul", "mm"), _product),
    **dict.fromkeys(("convolution", "_convolution"), _convolution),
    "addmm": _product_and_sum,
    "linear": _turned_linear,
    "einsum": _einsum,
}


def _in_roles(graph: Graph) -> Graph:
    """The graph with a parameter of its own for each role in which layers use a weight."""
    roles = [role for node in graph.nodes if (role := _role(graph, node)) is not None]
    if len(set(roles)) == len({weight for weight, _ in roles}):
        return graph
    builder, first, names = Builder(graph), dict[int, Any](), dict[Any, Ref]()
    for node in graph.nodes:
        role = _role(graph, node)
        if role is None or first.setdefault(role[0], role) == role:
            builder.refs[node.index] = builder.copy(node)
            continue
        weight = builder.refs[role[0]]
        if role not in names:
            shared = graph.nodes[role[0]].name
            name = new_name(builder, f"{shared.rpartition('.')[0] or shared}.{node.name}.weight")
            names[role] = builder.parameter(name, graph.parameters[shared], [weight], node.module)
        builder.refs[role[0]] = names[role]
        builder.refs[node.index] = builder.copy(node)
        builder.refs[role[0]] = weight
    return builder.built()


def _role(graph: Graph, node: Node) -> tuple[int, tuple[bool, Any]] | None:
    """A layer's weight with what decides which of its axes is which: turned or not, and groups."""
    if node.operation not in WEIGHTED or not isinstance(node.args[1], Ref):
        return None
    if graph.nodes[node.args[1].index].kind != "parameter":
        return None
    return node.args[1].index, ("transpose" in node.name, groups_of(node))


def groups_of(node: Node) -> Any:
    """Into how many groups a layer divides its channels; a Ref where that is computed."""
    place = 6
    return node.args[place] if len(node.args) > place and "linear" not in node.name else 1
