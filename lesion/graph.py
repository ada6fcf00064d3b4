"""The graph of a network: operations in order, the tensors behind its parameters, its output."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


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
    def operation(self) -> str:
        """The short name of a call's function; of other nodes, whose names are free, nothing."""
        return self.name if self.kind == "call" else ""

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
    """The nodes in order of execution, the tensors behind the parameters, and the output node.

    written: parameters and buffers that the forward itself changes; turns: numbers of images a
    batch from which on it takes another way
    """

    nodes: tuple[Node, ...]
    parameters: dict[str, Tensor]
    output: int
    written: tuple[str, ...] = ()
    turns: tuple[int, ...] = ()

    def users(self) -> list[list[int]]:
        """For each node the nodes that read it."""
        consumers: list[list[int]] = [[] for _ in self.nodes]
        for node in self.nodes:
            for index in dict.fromkeys(node.inputs):
                consumers[index].append(node.index)
        return consumers

    def last_use(self) -> list[int]:
        """For each node the last one that reads it; the output is read by the node after all."""
        last = [max(users, default=index) for index, users in enumerate(self.users())]
        last[self.output] = len(self.nodes)
        return last

    def varying(self, *, by_size: bool = True) -> set[int]:
        """The nodes that depend on the inputs; by_size: on the size of the batch alone too."""
        varying: set[int] = set()
        for node in self.nodes:
            reads = node.kind == "input" or any(index in varying for index in node.inputs)
            if reads and (by_size or not node.name.startswith("sym_")):
                varying.add(node.index)
        return varying
