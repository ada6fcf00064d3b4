"""From a network to its graph.

The front end is `torch.export`.  `torch.fx` traces torchvision's networks as well and much faster,
but `torch.export` gives a small vocabulary of functional operations, whatever made them.
"""

import logging
import operator
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind
from torch.fx import Graph as FxGraph
from torch.fx import Node as FxNode

from lesion.errors import LesionError, first_line
from lesion.network.functional import rewritten, written
from lesion.network.graph import (
    BATCH_NORM,
    CallOfAll,
    Forward,
    Graph,
    Node,
    Ref,
    batch_norm,
    state_of,
)


class TraceError(LesionError):
    """A network cannot be traced for inputs in general."""


def trace(network: nn.Module, forward: Forward, batch: Any) -> Graph:
    """The graph of `forward(network, batch)` for any number of images a batch.

    Raises TraceError with torch's reason where the network cannot be traced.
    """
    call = CallOfAll(network, forward, batch)
    tensors = call.tensors(batch)
    images = tensors[0].shape[0]
    program = _program(call, tensors)
    if images > 1 and isinstance(_size(program), int):
        # it may compare the batch with that of an earlier call, as detectors do for their anchors
        program = _program(call, [_with_one_more(t, images) for t in tensors])
        if isinstance(_size(program), int):
            raise TraceError(f"its forward works for batches of {images} images alone")
    changed, turns = written(program.graph), _turns(program)
    with _telling():
        program = functional(program)
    state = {name: value.detach() for name, value in state_of(network)}
    names, values = {}, {}
    for spec in program.graph_signature.input_specs:
        if spec.target is not None:
            name = spec.target.removeprefix("network.")
            names[spec.arg.name] = name
            values[name] = state[name] if name in state else program.constants[spec.target]
    graph = graph_of(program.graph, names, values, outputs_of(program))
    return replace(graph, written=named(changed, names), turns=turns)


def _program(call: CallOfAll, tensors: Sequence[Tensor]) -> ExportedProgram:
    """What torch.export makes of the call, for any number of images if it can."""
    images = tensors[0].shape[0]
    dynamic = tuple(
        {0: torch.export.Dim.AUTO} if t.dim() and t.shape[0] == images else None for t in tensors
    )
    given = tuple(t.detach() for t in tensors)  # torch.export marks what it is given
    with _telling():
        return torch.export.export(call, given, dynamic_shapes=(dynamic,), strict=False)


@contextmanager
def _telling() -> Iterator[None]:
    """What torch.export raises becomes a TraceError."""
    try:
        with torch.no_grad(), quiet():
            yield
    except Exception as error:  # torch.export raises a different class for each thing it refuses
        raise TraceError(f"torch.export cannot trace it ({first_line(error)})") from error


def _with_one_more(tensor: Tensor, images: int) -> Tensor:
    """The tensor with its first image once more."""
    rows = tensor.dim() > 0 and len(tensor) == images
    return torch.cat([tensor, tensor[:1]]) if rows else tensor


def functional(program: ExportedProgram) -> ExportedProgram:
    """The program without operations that change a value, by our own rewriting or torch's."""
    return program if rewritten(program.graph) else program.run_decompositions({})


def _size(program: ExportedProgram) -> Any:
    """How many images a batch has: a symbol, or the only number that there may be."""
    names = program.graph_signature.user_inputs
    nodes: Iterable[FxNode] = program.graph.nodes
    size = next(node for node in nodes if node.name in names).meta["val"].shape[0]
    symbol = None if isinstance(size, int) else size.node.expr
    return int(size) if symbol is None or symbol.is_number else symbol


def outputs_of(program: ExportedProgram) -> list[FxNode]:
    """What the network gives, among what it gives and what it changes."""
    (end,) = (node for node in program.graph.nodes if node.op == "output")
    specs = program.graph_signature.output_specs
    return [
        node
        for node, spec in zip(end.args[0], specs, strict=True)
        if spec.kind == OutputKind.USER_OUTPUT
    ]


def named(nodes: Iterable[str], names: Mapping[str, str]) -> tuple[str, ...]:
    """The parameters and buffers behind some nodes."""
    return tuple(sorted({names[name] for name in nodes if name in names}))


def _turns(program: ExportedProgram) -> tuple[int, ...]:
    """How many images a batch must have for the forward to take another way."""
    bounds = program.range_constraints.get(_size(program))
    return (int(bounds.upper) + 1,) if bounds is not None and bounds.upper.is_Integer else ()


@contextmanager
def quiet() -> Iterator[None]:
    """Without torch's remarks on its own internals."""
    level = logging.root.manager.disable
    with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(level)


def graph_of(
    graph: FxGraph, names: dict[str, str], values: dict[str, Tensor], outputs: Sequence[FxNode]
) -> Graph:
    """fx's graph as ours; names: which nodes are parameters; outputs: the scored one first."""
    nodes: list[Node] = []
    parameters: dict[str, Tensor] = {}
    numbers: dict[FxNode, int] = {}
    for fx_node in graph.nodes:
        if fx_node.op == "output":
            continue
        if _first_of_batch_norm(fx_node):
            numbers[fx_node] = numbers[fx_node.args[0]]
            continue
        index = len(nodes)
        if fx_node.name in names:
            name = names[fx_node.name]
            parameters[name] = values[name]
            node = Node(index, "parameter", name)
        elif fx_node.op == "placeholder":
            node = Node(index, "input", fx_node.name)
        else:
            node = _call(index, fx_node, numbers)
        numbers[fx_node] = index
        nodes.append(node)
    output, *others = (numbers[fx_node] for fx_node in outputs)
    return Graph(tuple(nodes), parameters, output, tuple(others))


def _first_of_batch_norm(fx_node: FxNode) -> bool:
    if fx_node.target is not operator.getitem:
        return False
    source = fx_node.args[0]
    return isinstance(source, FxNode) and BATCH_NORM in str(source.target)


def _call(index: int, fx_node: FxNode, numbers: dict[FxNode, int]) -> Node:
    """A call; batch norm gives its result alone, without the statistics it did not compute."""
    args, kwargs = (_with_refs(part, numbers) for part in (fx_node.args, fx_node.kwargs))
    op = fx_node.target
    assert callable(op)
    name = str(getattr(op, "_opname", getattr(op, "__name__", op))).removesuffix("_")
    stack: Sequence[Any] = list(fx_node.meta.get("nn_module_stack", {}).values())
    module = stack[-1][0].removeprefix("network").removeprefix(".") if stack else ""
    if name == BATCH_NORM:
        x, weight, bias, mean, var, _, eps = args
        return Node(
            index, "call", "batch_norm", batch_norm, (x, weight, bias, mean, var, eps), {}, module
        )
    if name == "batch_norm" and args[5] is False:  # as torch.export names it, not yet rewritten
        return Node(index, "call", "batch_norm", batch_norm, (*args[:5], args[7]), {}, module)
    if name in ("view", "_unsafe_view"):  # which would ask for one layout in memory
        op = torch.ops.aten.reshape.default
    return Node(index, "call", name, op, args, kwargs, module)


def _with_refs(args: Any, numbers: dict[FxNode, int]) -> Any:
    """fx's arguments with Refs for its nodes and plain lists for its immutable ones."""
    if isinstance(args, FxNode):
        return Ref(numbers[args])
    if isinstance(args, dict):
        return {key: _with_refs(value, numbers) for key, value in args.items()}
    if isinstance(args, tuple):
        return tuple(_with_refs(value, numbers) for value in args)
    if isinstance(args, list):
        return [_with_refs(value, numbers) for value in args]
    return args
