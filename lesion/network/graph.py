"""A network as a list of functional operations that can be run from any of them on."""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor, nn
from torch.jit import ScriptModule
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from lesion.subject.batch import every_tensor, first_output


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

    @cached_property
    def inputs(self) -> tuple[int, ...]:
        """The nodes it reads, in order of its arguments."""
        return tuple(refs((self.args, self.kwargs)))


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

    output: the one that is scored; others: what else the network gives
    written: parameters and buffers that the forward itself changes; turns: numbers of images a
    batch from which on it takes another way
    """

    nodes: tuple[Node, ...]
    parameters: dict[str, Tensor]
    output: int
    others: tuple[int, ...] = ()
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
        """For each node the last one that reads it; outputs are read by the node after all."""
        last = [max(users, default=index) for index, users in enumerate(self.users())]
        for index in (self.output, *self.others):
            last[index] = len(self.nodes)
        return last

    @cached_property
    def reaching(self) -> frozenset[int]:
        """The nodes on which the output that is scored depends."""
        reaching = {self.output}
        for node in reversed(self.nodes):
            if node.index in reaching:
                reaching.update(node.inputs)
        return frozenset(reaching)

    def varying(self, *, by_size: bool = True) -> set[int]:
        """The nodes that depend on the inputs; by_size: on the size of the batch alone too."""
        varying: set[int] = set()
        for node in self.nodes:
            reads = node.kind == "input" or any(index in varying for index in node.inputs)
            if reads and (by_size or not node.name.startswith("sym_")):
                varying.add(node.index)
        return varying


Forward = Callable[[nn.Module, Any], Any]
BATCH_NORM = "_native_batch_norm_legit_no_training"  # torch's name for it in evaluation mode


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

    def inputs(self, batch: Any, read: Collection[int]) -> tuple[Tensor, ...]:
        """The same of a batch that has labels where the first one had none, or none where it had.

        read: places among the tensors that the network reads; elsewhere any tensor stands.
        """
        if pytree.tree_structure(batch) == self.structure:
            return self.tensors(batch)
        known = [key for key, leaf in self._keyed(self.batch) if isinstance(leaf, Tensor)]
        given = {key: leaf for key, leaf in self._keyed(batch) if isinstance(leaf, Tensor)}
        places = sorted(read)
        if all(known[place] in given for place in places):
            values = [given[known[place]] for place in places]
        else:
            values = list(given.values())[: len(places)]
        return tuple(
            values[places.index(place)] if place in read else values[0]
            for place in range(len(known))
        )

    @property
    def batch(self) -> Any:
        """The batch that it was made with."""
        return pytree.tree_unflatten(self.leaves, self.structure)

    @staticmethod
    def _keyed(batch: Any) -> list[tuple[str, Any]]:
        """The leaves of a batch with their places in it, as texts."""
        return [(pytree.keystr(k), leaf) for k, leaf in pytree.tree_flatten_with_path(batch)[0]]

    def given(self, tensors: Iterable[Tensor]) -> Any:
        """What the adapter gives of the network's outputs."""
        rest = iter(tensors)
        leaves = [next(rest) if isinstance(leaf, Tensor) else leaf for leaf in self.leaves]
        return self.adapted(self.network, pytree.tree_unflatten(leaves, self.structure))

    def forward(self, *tensors: Tensor) -> Any:
        return first_output(self.given(tensors))


class CallOfAll(Call):
    """The same, which gives all tensors that the network gives, the scored one first."""

    def forward(self, *tensors: Tensor) -> list[Tensor]:
        outputs: list[Any] = []
        with ExitStack() as hooks:
            if not isinstance(self.network, ScriptModule):  # which takes no hooks
                keep = self.network.register_forward_hook(
                    lambda *called: outputs.append(called[-1])
                )
                hooks.callback(keep.remove)
            outputs.append(self.given(tensors))
        scored = first_output(outputs[-1])
        known = {id(tensor) for tensor in (scored, *tensors)}
        others = {id(tensor): tensor for tensor in every_tensor(outputs) if id(tensor) not in known}
        return [scored, *others.values()]


def state_of(network: nn.Module, tied: bool = True) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers by name; tied: those too that have come under another name."""
    yield from network.named_parameters(remove_duplicate=not tied)
    yield from network.named_buffers(remove_duplicate=not tied)


def of_the_batch(node: Node) -> bool:
    """Whether a call is a batch norm whose statistics are those of the images at hand."""
    # `training` lies where our own batch norm has eps
    recorded = node.operation == "batch_norm" and node.args[5] is True
    return recorded or node.operation.startswith("_native_batch_norm_legit")
