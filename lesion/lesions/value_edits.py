"""Edits of what a layer reads or gives: values that pass through a function."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lesion.lesions.edits import Edit
from lesion.lesions.readers import Readers
from lesion.network.dissection import Dissection
from lesion.network.program import Program, Step
from lesion.network.torch_layers import LAYERS

Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Passing:
    """An operation whose first argument passes through a function before, or its value after."""

    operation: Callable[..., Any]
    before: Change | None
    after: Change | None

    def read(self, x: Tensor) -> Tensor:
        """What it reads of its first argument."""
        return x if self.before is None else self.before(x)

    def __call__(self, x: Tensor, *rest: Any, **named: Any) -> Any:
        value = self.operation(self.read(x), *rest, **named)
        return value if self.after is None else self.after(value)


@dataclass(frozen=True, eq=False)
class Values:
    """What a layer reads, or what it gives, passes through a function, wherever the layer runs.

    layer: its name, weight: that of its weight; nodes: the operations that it is
    key: tells the functions from others
    before: takes and gives what it reads; after: what it gives, before batch norm. They have to do
        the same to each image whichever are beside it, and `before` to keep zeros, which layers pad
    """

    layer: str
    weight: str
    nodes: tuple[int, ...]
    key: bytes
    before: Change | None = None
    after: Change | None = None

    @classmethod
    def of(
        cls,
        dissection: Dissection,
        layer: str,
        key: str,
        before: Change | None = None,
        after: Change | None = None,
    ) -> "Values":
        """The edit of a layer; key: a text that tells what the functions do.

        To be measured in several processes they have to be picklable (functools.partial of a
        function of a module).
        """
        weight, nodes = dissection.anatomy.layer[layer].weight, dissection.nodes[layer]
        return cls(layer, weight, nodes, f"values/{layer}/{key}".encode(), before, after)

    def steps(self, program: Program) -> dict[int, Step]:
        """The layer's operations, as far as the program has them, with the functions around."""
        places = [program.position[n] for n in self.nodes if n in program.position]
        return {place: self._around(program.steps[place]) for place in places}

    def obstacle(self, readers: Readers) -> str:
        """The layer, where its operations are no calls of one of torch's modules: nothing else is
        hooked."""
        module = readers.dissection.call.network.get_submodule(self.layer)
        plain = isinstance(module, LAYERS) and readers.holds(self.weight)
        return "" if plain and readers.runs(self.layer) == len(self.nodes) else self.layer

    def weights(self, readers: Readers, network: nn.Module) -> Mapping[str, Tensor]:
        """None."""
        return {}

    def hooks(self, network: nn.Module) -> list[RemovableHandle]:
        """The functions, around the layer's module."""
        module, handles = network.get_submodule(self.layer), list[RemovableHandle]()
        if self.before is not None:
            handles.append(module.register_forward_pre_hook(_before(self.before)))
        if self.after is not None:
            handles.append(module.register_forward_hook(_after(self.after)))
        return handles

    def hold(self, readers: Readers, network: nn.Module) -> None:
        """The functions stay around the module, through which training goes."""
        self.hooks(network)

    def held(self, readers: Readers, network: nn.Module) -> Mapping[str, Tensor]:
        """None."""
        return {}

    def _around(self, step: Step) -> Step:
        return replace(step, op=Passing(step.op, self.before, self.after))


@dataclass(frozen=True, eq=False)
class Both:
    """One edit, and then another of the network that is edited by the first."""

    first: Edit
    second: Edit

    @cached_property
    def nodes(self) -> tuple[int, ...]:
        """The operations that either changes."""
        return tuple(sorted({*self.first.nodes, *self.second.nodes}))

    @cached_property
    def key(self) -> bytes:
        """Of both."""
        return b"both/%d/%b/%b" % (len(self.first.key), self.first.key, self.second.key)

    def steps(self, program: Program) -> dict[int, Step]:
        """The operations that either changes, changed by both."""
        changed = self.first.steps(program)
        return {**changed, **self.second.steps(program.having({}, changed))}

    def obstacle(self, readers: Readers) -> str:
        """That of the first which has one."""
        return self.first.obstacle(readers) or self.second.obstacle(readers)

    def weights(self, readers: Readers, network: nn.Module) -> Mapping[str, Tensor]:
        """Those of both, which set different ones."""
        return {**self.first.weights(readers, network), **self.second.weights(readers, network)}

    def hooks(self, network: nn.Module) -> list[RemovableHandle]:
        """Those of both."""
        return [*self.first.hooks(network), *self.second.hooks(network)]

    def hold(self, readers: Readers, network: nn.Module) -> None:
        """Both are held."""
        self.first.hold(readers, network)
        self.second.hold(readers, network)

    def held(self, readers: Readers, network: nn.Module) -> Mapping[str, Tensor]:
        """What either sets."""
        return {**self.first.held(readers, network), **self.second.held(readers, network)}


def reading_through(edit: Edit, dissection: Dissection, layer: str, change: Change | None) -> Edit:
    """An edit, and what a layer reads passes through a function as well; itself for None.

    change: keeps zeros; its repr tells it from others
    """
    if change is None:
        return edit
    return Both(edit, Values.of(dissection, layer, f"{change}", before=change))


def _before(change: Change) -> Callable[..., Any]:
    def hook(module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (change(given[0]), *given[1:])

    return hook


def _after(change: Change) -> Callable[..., Any]:
    def hook(module: nn.Module, given: Any, value: Tensor) -> Tensor:
        return change(value)

    return hook
