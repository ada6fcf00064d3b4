"""A network as a list of functional operations that can be run from any of them on.

The front end is `torch.export`.  `torch.fx` traces torchvision's networks as well and much faster,
but `torch.export` gives a small vocabulary of functional operations, whatever made them.
"""

import logging
import operator
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.fx import Graph as FxGraph
from torch.fx import Node as FxNode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from lesion.errors import LesionError, first_line

Forward = Callable[[nn.Module, Any], Any]
BATCH_NORM = "_native_batch_norm_legit_no_training"  # torch's name for it in evaluation mode


class TraceError(LesionError):
    """A network cannot be traced for inputs in general."""


@dataclass(frozen=True)
class Ref:
    """The value of another node, in a node's arguments."""

    index: int


@dataclass(frozen=True)
class Node:
    """One step of the network.

    kind: "input" (a tensor of the batch), "parameter" (a parameter, buffer or constant: name is
        its dotted name, args are the parameters that it is computed from, if any) or "call" (op is
        the function, name its short name, such as "conv2d")
    module: the dotted name of the module in whose forward the step happens
    """

    index: int
    kind: str
    name: str
    op: Callable[..., Any] | None = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    module: str = ""

    @property
    def inputs(self) -> list[int]:
        """The nodes it reads, in order of its arguments."""
        return list(refs((self.args, self.kwargs)))


def refs(args: Any) -> Iterator[int]:
    """The node numbers in nested arguments."""
    if isinstance(args, Ref):
        yield args.index
    elif isinstance(args, dict):
        for value in args.values():
            yield from refs(value)
    elif isinstance(args, (tuple, list)):
        for value in args:
            yield from refs(value)


def resolve(args: Any, values: Any) -> Any:
    """Nested arguments with every Ref replaced by `values[index]`."""
    if isinstance(args, Ref):
        return values[args.index]
    if isinstance(args, dict):
        return {key: resolve(value, values) for key, value in args.items()}
    if isinstance(args, (tuple, list)):
        return type(args)(resolve(value, values) for value in args)
    return args


@dataclass(frozen=True)
class Graph:
    """The nodes in order of execution, the tensors behind the parameters, and the output node."""

    nodes: tuple[Node, ...]
    parameters: dict[str, Tensor]
    output: int

    def users(self) -> list[list[int]]:
        """For each node the nodes that read it."""
        found: list[list[int]] = [[] for _ in self.nodes]
        for node in self.nodes:
            for index in dict.fromkeys(node.inputs):
                found[index].append(node.index)
        return found

    def last_use(self) -> list[int]:
        """For each node the last one that reads it; the output is read by the node after all."""
        last = [max(users, default=index) for index, users in enumerate(self.users())]
        last[self.output] = len(self.nodes)
        return last

    def varying(self, *, by_size: bool = True) -> set[int]:
        """The nodes that depend on the inputs; by_size: on the size of the batch alone too."""
        found: set[int] = set()
        for node in self.nodes:
            reads = node.kind == "input" or any(index in found for index in node.inputs)
            if reads and (by_size or not node.name.startswith("sym_")):
                found.add(node.index)
        return found


def batch_norm(
    x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float
) -> Tensor:
    """Batch norm in evaluation mode."""
    return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)


class Call(nn.Module):
    """A network behind its adapter: takes the tensors of a batch, gives the logits."""

    def __init__(self, network: nn.Module, forward: Forward, batch: Any) -> None:
        super().__init__()
        self.network, self.adapted = network, forward
        self.leaves, self.structure = pytree.tree_flatten(batch)

    def tensors(self, batch: Any) -> tuple[Tensor, ...]:
        """The tensors of a batch, in the order in which `forward` takes them."""
        return tuple(leaf for leaf in pytree.tree_leaves(batch) if isinstance(leaf, Tensor))

    def forward(self, *tensors: Tensor) -> Any:
        rest = iter(tensors)
        leaves = [next(rest) if isinstance(leaf, Tensor) else leaf for leaf in self.leaves]
        return self.adapted(self.network, pytree.tree_unflatten(leaves, self.structure))


def trace(network: nn.Module, forward: Forward, batch: Any) -> Graph:
    """The graph of `forward(network, batch)` for any number of images a batch.

    Raises TraceError with torch's reason where the network cannot be traced.
    """
    call = Call(network, forward, batch)
    tensors = call.tensors(batch)
    images = tensors[0].shape[0]
    dynamic = tuple(
        {0: torch.export.Dim.AUTO} if t.dim() and t.shape[0] == images else None for t in tensors
    )
    try:
        with torch.no_grad(), _quiet():
            program = torch.export.export(call, tensors, dynamic_shapes=(dynamic,), strict=False)
            if _functional(program.graph):
                program.graph.eliminate_dead_code()
            else:
                program = program.run_decompositions({})
    except Exception as error:  # torch.export raises a different class for each thing it refuses
        raise TraceError(f"torch.export cannot trace it ({first_line(error)})") from error
    first = next(n for n in program.graph.nodes if n.name in program.graph_signature.user_inputs)
    if images > 1 and isinstance(first.meta["val"].shape[0], int):
        raise TraceError(f"its forward works for batches of {images} images alone")
    state = _state(network)
    names, values = {}, {}
    for spec in program.graph_signature.input_specs:
        if spec.target is not None:
            name = spec.target.removeprefix("network.")
            names[spec.arg.name] = name
            values[name] = state[name] if name in state else program.constants[spec.target]
    (output,) = program.graph_signature.user_outputs
    (found,) = (n for n in program.graph.nodes if n.name == output)
    return _graph(program.graph, names, values, found)


def _functional(graph: FxGraph) -> bool:
    """Whether every call gives a value and changes none, so that nothing has to be rewritten."""
    for node in graph.nodes:
        op = node.target
        if isinstance(op, OpOverload):
            if op._schema.is_mutable or not op._schema.returns:
                return False
        elif node.op not in ("placeholder", "output") and op not in vars(operator).values():
            return False
    return True


def record(network: nn.Module, forward: Forward, batch: Any) -> Graph:
    """The graph of what the network does with this very batch, whatever it would do with others."""
    call = Call(network, forward, batch)
    state = _state(network)

    def run(parameters: dict[str, Tensor], *tensors: Tensor) -> Any:
        own = {f"network.{name}": value for name, value in parameters.items()}
        return torch.func.functional_call(call, own, tensors)

    tensors = call.tensors(batch)
    with torch.no_grad(), _quiet():
        traced = make_fx(
            run, pre_dispatch=True, tracing_mode="real", _error_on_data_dependent_ops=False
        )(state, *tensors)
    placeholders = [n for n in traced.graph.nodes if n.op == "placeholder"]
    names = {n.name: name for n, name in zip(placeholders, state, strict=False)}
    values = dict(state)
    for fx_node in traced.graph.nodes:
        if fx_node.op == "get_attr":
            names[fx_node.name] = fx_node.target
            values[fx_node.target] = getattr(traced, fx_node.target)
    (end,) = (n for n in traced.graph.nodes if n.op == "output")
    (found,) = end.args[0] if isinstance(end.args[0], (list, tuple)) else end.args
    return _graph(traced.graph, names, values, found)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's remarks on its own internals."""
    level = logging.root.manager.disable
    with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(level)


def _state(network: nn.Module) -> dict[str, Tensor]:
    own = (*network.named_parameters(remove_duplicate=False),
           *network.named_buffers(remove_duplicate=False))  # fmt: skip
    return {name: value.detach() for name, value in own}


def _graph(
    graph: FxGraph, names: dict[str, str], values: dict[str, Tensor], output: FxNode
) -> Graph:
    """fx's graph as ours; `names` says which nodes are parameters."""
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
    return Graph(tuple(nodes), parameters, numbers[output])


def _first_of_batch_norm(fx_node: FxNode) -> bool:
    if fx_node.target is not operator.getitem:
        return False
    source = fx_node.args[0]
    return isinstance(source, FxNode) and BATCH_NORM in str(source.target)


def _call(index: int, fx_node: FxNode, numbers: dict[FxNode, int]) -> Node:
    """A call; batch norm gives its result alone, without the statistics it did not compute."""
    args, kwargs = (_own(part, numbers) for part in (fx_node.args, fx_node.kwargs))
    op = fx_node.target
    assert callable(op)
    name = str(getattr(op, "_opname", getattr(op, "__name__", op))).removesuffix("_")
    stack: Sequence[Any] = list(fx_node.meta.get("nn_module_stack", {}).values())
    module = stack[-1][0].removeprefix("network").removeprefix(".") if stack else ""
    if name == BATCH_NORM:
        x, weight, bias, mean, var, _, eps = args
        return Node(index, "call", "batch_norm", batch_norm,
                    (x, weight, bias, mean, var, eps), {}, module)  # fmt: skip
    if name == "batch_norm" and args[5] is False:  # as torch.export names it, not yet rewritten
        return Node(index, "call", "batch_norm", batch_norm, (*args[:5], args[7]), {}, module)
    if name in ("view", "_unsafe_view"):  # which would ask for one layout in memory
        op = torch.ops.aten.reshape.default
    return Node(index, "call", name, op, args, kwargs, module)


def of_the_batch(node: Node) -> bool:
    """Whether a call is a batch norm whose statistics are those of the images at hand."""
    recorded = node.name == "batch_norm" and node.args[5] is True  # `training`, where we put eps
    return recorded or node.name.startswith("_native_batch_norm_legit")


def _own(args: Any, numbers: dict[FxNode, int]) -> Any:
    """fx's arguments with Refs for its nodes and plain lists for its immutable ones."""
    if isinstance(args, FxNode):
        return Ref(numbers[args])
    if isinstance(args, dict):
        return {key: _own(value, numbers) for key, value in args.items()}
    if isinstance(args, tuple):
        return tuple(_own(value, numbers) for value in args)
    if isinstance(args, list):
        return [_own(value, numbers) for value in args]
    return args
