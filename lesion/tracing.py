"""A network as a list of functional operations that can be run from any of them on.

The front end is `torch.export`: of the two that torch offers it reads every network that
`torch.fx` reads here and more, names only functional operations, and knows the shapes.
"""

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node as FxNode
from torch.fx.node import map_arg
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from lesion.errors import SubjectError

Forward = Callable[[nn.Module, Any], Any]


@dataclass(frozen=True)
class Ref:
    """The value of another node, in a node's arguments."""

    index: int


@dataclass(frozen=True)
class Node:
    """One step of the network.

    kind: "input" (a tensor of the batch), "parameter" (a parameter, buffer or constant: name is
        its dotted name) or "call" (op is the function, name its short name, such as "conv2d")
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

    Raises SubjectError with torch's reason where the network cannot be traced.
    """
    call = Call(network, forward, batch)
    tensors = call.tensors(batch)
    images = tensors[0].shape[0]
    dynamic = tuple(
        {0: torch.export.Dim.AUTO} if t.dim() and t.shape[0] == images else None for t in tensors
    )
    try:
        with torch.no_grad():
            program = torch.export.export(
                call, tensors, dynamic_shapes=(dynamic,), strict=False
            ).run_decompositions({})
    except Exception as error:  # torch.export raises a different class for each thing it refuses
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise SubjectError(f"torch.export cannot trace the network: {reason[0]}") from error
    return _graph(program, network)


def _graph(program: torch.export.ExportedProgram, network: nn.Module) -> Graph:
    nodes: list[Node] = []
    parameters: dict[str, Tensor] = {}
    numbers: dict[FxNode, int] = {}
    own = dict(network.named_parameters(remove_duplicate=False))
    own |= dict(network.named_buffers(remove_duplicate=False))
    specs = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    for fx_node in program.graph.nodes:
        if fx_node.op == "output":
            continue
        if _first_of_batch_norm(fx_node):
            numbers[fx_node] = numbers[fx_node.args[0]]
            continue
        index = len(nodes)
        if fx_node.op == "placeholder":
            spec = specs[fx_node.name]
            if spec.target is None:
                node = Node(index, "input", fx_node.name)
            else:
                name = spec.target.removeprefix("network.")
                value = own[name] if name in own else program.constants[spec.target]
                parameters[name] = value.detach()
                node = Node(index, "parameter", name)
        else:
            node = _call(index, fx_node, numbers)
        numbers[fx_node] = index
        nodes.append(node)
    (output,) = program.graph_signature.user_outputs
    (found,) = (n for n in program.graph.nodes if n.name == output)
    return Graph(tuple(nodes), parameters, numbers[found])


def _first_of_batch_norm(fx_node: FxNode) -> bool:
    if fx_node.target is not operator.getitem:
        return False
    source = fx_node.args[0]
    return isinstance(source, FxNode) and "_native_batch_norm_legit_no_training" in str(source.target)


def _call(index: int, fx_node: FxNode, numbers: dict[FxNode, int]) -> Node:
    """A call; batch norm gives its result alone, without the statistics it did not compute."""
    args, kwargs = (
        map_arg(part, lambda n: Ref(numbers[n])) for part in (fx_node.args, fx_node.kwargs)
    )
    op = fx_node.target
    assert callable(op)
    name = str(getattr(op, "_opname", getattr(op, "__name__", op)))
    stack: Sequence[Any] = list(fx_node.meta.get("nn_module_stack", {}).values())
    module = stack[-1][0].removeprefix("network").removeprefix(".") if stack else ""
    if name == "_native_batch_norm_legit_no_training":
        x, weight, bias, mean, var, _, eps = args
        return Node(index, "call", "batch_norm", batch_norm,
                    (x, weight, bias, mean, var, eps), {}, module)  # fmt: skip
    return Node(index, "call", name, op, _tuples(args), dict(kwargs), module)


def _tuples(args: Any) -> Any:
    """fx's immutable lists as plain ones."""
    if isinstance(args, tuple):
        return tuple(_tuples(value) for value in args)
    if isinstance(args, list):
        return [_tuples(value) for value in args]
    return args
