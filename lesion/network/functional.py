"""A traced graph made functional: what an operation changes in place is a new value instead.

Which nodes share memory is told by the storages of the traced values.  What is changed in a slice
is put into that of which it is a slice.  Where changed memory is read through another view of it,
nothing is rewritten here.
"""

import operator
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Graph, Node
from torch.fx.node import map_arg

PUT_BACK: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.slice.Tensor: torch.ops.aten.slice_scatter.default,
    torch.ops.aten.select.int: torch.ops.aten.select_scatter.default,
}
RENAMED = {"zero_": torch.ops.aten.zeros_like.default}
Place = tuple[int, str]  # the memory of a value, and how the value lies in it


class OnCopy:
    """An operation in place, which is given a copy of what it changes."""

    def __init__(self, op: OpOverload) -> None:
        self.changing, self.changed, self.tags = op, _changed(op)[0], op.tags
        self.__name__ = str(op._opname).removesuffix("_")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        position, name = self.changed
        if name in kwargs:
            return self.changing(*args, **{**kwargs, name: kwargs[name].clone()})
        return self.changing(
            *args[:position], args[position].clone(), *args[position + 1 :], **kwargs
        )


def changes(node: Node) -> bool:
    """Whether a call changes one of its arguments."""
    return isinstance(node.target, OpOverload) and node.target._schema.is_mutable


def rewritten(graph: Graph) -> bool:
    """Whether the graph is functional, or could be made so: then it is, without dead code."""
    for node in filter(_asserts, list(graph.nodes)):
        graph.erase_node(node)
    if not all(map(_gives_value, graph.nodes)):
        return False
    if any(map(changes, graph.nodes)):
        if not _separable(graph):
            return False
        _rewrite(graph)
    graph.eliminate_dead_code()
    return True


def written(graph: Graph) -> set[str]:
    """The placeholders, by name, whose values the graph changes."""
    changed = [_target(node) for node in graph.nodes if changes(node)]
    memory = {place[0] for node in changed if node is not None for place in _places(node)}
    given = (node for node in graph.nodes if node.op == "placeholder")
    return {node.name for node in given if any(place[0] in memory for place in _places(node))}


def _asserts(node: Node) -> bool:
    """Whether a call only makes sure of what was so in the trace."""
    op = node.target
    return isinstance(op, OpOverload) and op._opname.startswith(("_assert", "sym_constrain"))


def _gives_value(node: Node) -> bool:
    if isinstance(node.target, OpOverload):
        return bool(node.target._schema.returns)
    known = vars(operator).values()
    return node.op in ("placeholder", "get_attr", "output") or node.target in known


def _separable(graph: Graph) -> bool:
    """Whether changed memory is read again only in the way in which it was changed, or as that of
    which the changed is a slice."""
    stale: set[Node] = set()
    before: list[tuple[Node, list[Place]]] = []
    for node in graph.nodes:
        if stale.intersection(node.all_input_nodes):
            return False
        if changes(node):
            target = _target(node)
            if target is None:
                return False
            stale.update(_otherwise(target, before))
        before.append((node, _places(node)))
    return True


def _otherwise(target: Node, before: list[tuple[Node, list[Place]]]) -> list[Node]:
    """The nodes that show the target's memory, but neither as the target nor as a whole of it."""
    ((memory, _),) = _places(target)
    known = [_places(node) for node in _wholes(target)]
    return [
        node
        for node, places in before
        if any(place[0] == memory for place in places) and places not in known
    ]


def _wholes(part: Node) -> Iterator[Node]:
    """A node, that of which it is a slice, and so on."""
    yield part
    while part.target in PUT_BACK and not part.kwargs:
        (part, *_) = part.all_input_nodes
        yield part


def _rewrite(graph: Graph) -> None:
    newest: dict[Node, Node] = {}  # what stands for a node since it was changed
    showing: dict[Place, list[Node]] = {}
    for node in list(graph.nodes):
        target = _target(node) if changes(node) else None
        node.args = map_arg(node.args, lambda old: newest.get(old, old))
        node.kwargs = map_arg(node.kwargs, lambda old: newest.get(old, old))
        if target is not None:
            _replace(node)
            for part, value in list(_renewed(graph, target, node, newest)):
                newest.update(dict.fromkeys(showing[_places(part)[0]], value))
        places = _places(node)
        if len(places) == 1:
            showing.setdefault(places[0], []).append(node)


def _renewed(
    graph: Graph, target: Node, value: Node, newest: Mapping[Node, Node]
) -> Iterator[tuple[Node, Node]]:
    """What was changed, and each whole of which it is a slice, with its new value."""
    yield target, value
    for part, whole in pairwise(_wholes(target)):
        with graph.inserting_after(value):
            given = (newest.get(whole, whole), value, *part.args[1:])
            value = graph.call_function(PUT_BACK[part.target], given)
        value.meta = dict(whole.meta)
        yield whole, value


def _replace(node: Node) -> None:
    """The call by the operation that gives the same as a new value."""
    assert isinstance(node.target, OpOverload)
    op = _functional(node.target)
    node.target = op if op is not None and _same(op, node) else OnCopy(node.target)


def _functional(op: OpOverload) -> OpOverload | None:
    """The operation of the same name and arguments that changes nothing, if there is one."""
    if op._opname in RENAMED:
        return RENAMED[op._opname]
    packet = getattr(getattr(torch.ops, op.namespace), op._opname.removesuffix("_"), None)
    counterpart = getattr(packet, op._overloadname, None)
    if not isinstance(counterpart, OpOverload) or counterpart._schema.is_mutable:
        return None
    return counterpart if _parameters(op) == _parameters(counterpart) else None


def _parameters(op: OpOverload) -> list[str]:
    return [argument.name for argument in op._schema.arguments]


def _same(op: OpOverload, node: Node) -> bool:
    """Whether its value is of the type and shape of what was changed in place."""
    value = node.meta["val"]
    given: Any = map_arg((node.args, dict(node.kwargs)), lambda operand: operand.meta["val"])
    try:
        with value.fake_mode, torch.no_grad():
            result = op(*given[0], **given[1])
    except Exception:  # torch raises a different class for each thing it cannot do
        return False
    return bool(result.dtype == value.dtype and str(result.shape) == str(value.shape))


def _changed(op: OpOverload) -> list[tuple[int, str]]:
    """The position and name of each argument that the operation changes."""
    return [
        (position, argument.name)
        for position, argument in enumerate(op._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]


def _target(node: Node) -> Node | None:
    """What a call changes; None unless that is one tensor, which the call then gives."""
    op = node.target
    assert isinstance(op, OpOverload)
    changed = _changed(op)
    if len(changed) != 1 or torch.Tag.inplace_view in op.tags:
        return None
    position, name = changed[0]
    target = node.kwargs.get(name, node.args[position] if position < len(node.args) else None)
    if not isinstance(target, Node) or len(_places(target)) != 1:
        return None
    return target if _places(target) == _places(node) else None


def _places(node: Node) -> list[Place]:
    """Where a node's tensors lie."""
    value = node.meta.get("val")
    if isinstance(value, Tensor):
        return [_place(value)]
    several = value if isinstance(value, (tuple, list)) else []
    tensors = [element for element in several if isinstance(element, Tensor)]
    return [(_place(tensor)[0], "one of several") for tensor in tensors]


def _place(value: Tensor) -> Place:
    how = (value.dtype, value.shape, value.stride(), value.storage_offset(), value.is_conj())
    return value.untyped_storage()._cdata, str(how)
