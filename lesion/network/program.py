"""The traced network as a program that pauses at a cut and replays what lies behind it.

Parameters stand in the steps as tensors, and a batch norm that follows a convolution alone is
folded into it.  Values are freed after their last use, so that memory is what is alive in one
batch at one moment.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lesion.network.batch_norm_fold import bias_of, foldable, folded
from lesion.network.graph import Graph, Node, Ref, refs, resolve


@dataclass(frozen=True)
class Step:
    """One operation: the value it gives, what it computes and which values it reads."""

    index: int
    name: str
    op: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def inputs(self) -> list[int]:
        return list(dict.fromkeys(refs((self.args, self.kwargs))))

    def run(self, values: Mapping[int, Any]) -> Any:
        return self.op(*resolve(self.args, values), **resolve(self.kwargs, values))


@dataclass(frozen=True)
class Program:
    """The steps in order, the input values' numbers, the number of the output.

    source: what the steps were compiled from, None for a program made by hand
    """

    steps: tuple[Step, ...]
    inputs: tuple[int, ...]
    output: int
    source: "Source | None" = None

    @cached_property
    def ends(self) -> list[list[int]]:
        """For each step the values that no later one reads, the output apart."""
        return frees(self.steps, (self.output,))

    @cached_property
    def read(self) -> frozenset[int]:
        """The places among the inputs of those that a step reads."""
        reading = {index for step in self.steps for index in step.inputs}
        return frozenset(at for at, index in enumerate(self.inputs) if index in reading)

    @cached_property
    def position(self) -> dict[int, int]:
        """Where in the program each value is computed."""
        return {step.index: position for position, step in enumerate(self.steps)}

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """The tensors behind the parameters, as the network has them."""
        assert self.source is not None
        return self.source.graph.parameters

    def place(self, node: int) -> int:
        """Where a node's operation is computed: of a batch norm that is folded, the convolution."""
        return self.position[self.source.into.get(node, node) if self.source else node]

    def having(self, parameters: Mapping[str, Tensor], steps: Mapping[int, Step]) -> "Program":
        """The program with other values of parameters, of which these are the changed steps."""
        assert self.source is not None
        graph = self.source.graph
        graph = replace(graph, parameters={**graph.parameters, **parameters})
        every = tuple(steps.get(place, step) for place, step in enumerate(self.steps))
        return replace(self, steps=every, source=replace(self.source, graph=graph))

    def recompiled(self, parameters: Mapping[str, Tensor]) -> dict[int, Step]:
        """The steps that read some parameters, with other values of these, by their places."""
        assert self.source is not None
        steps = self.source.changed(parameters)
        return {self.position[step.index]: step for step in steps if step.index in self.position}


@dataclass(frozen=True, eq=False)
class Source:
    """A graph, and how its calls become steps.

    fold: batch norm into convolutions; lay_out: weights in memory as is fastest here
    """

    graph: Graph
    fold: bool
    lay_out: bool

    @cached_property
    def folded(self) -> dict[int, int]:
        """Convolutions with the batch norm that is folded into each."""
        return foldable(self.graph) if self.fold else {}

    @cached_property
    def into(self) -> dict[int, int]:
        """Batch norms that are folded, with the convolution that each is folded into."""
        return {norm: convolution for convolution, norm in self.folded.items()}

    @cached_property
    def values(self) -> dict[int, Any]:
        """What stands in the steps for each node: a tensor, or a reference to a value."""
        values: dict[int, Any] = {}
        norms = set(self.folded.values())
        for node in self.graph.nodes:
            if node.kind == "parameter":
                values[node.index] = self.graph.parameters[node.name]
            elif node.index in norms:
                values[node.index] = values[node.args[0].index]
            else:
                values[node.index] = Ref(node.index)
        return values

    @cached_property
    def named(self) -> frozenset[str]:
        """The parameters that calls read."""
        return frozenset(node.name for node in self.graph.nodes if node.kind == "parameter")

    def step(
        self, node: Node, values: Mapping[int, Any], parameters: Mapping[str, Tensor] | None = None
    ) -> Step:
        """A call as a step on such values, with the batch norm that is folded into it.

        parameters: by name, those that have other values; among them biases of layers without
        """
        assert node.op is not None
        args, kwargs = resolve(node.args, values), resolve(node.kwargs, values)
        if (bias := self._bias(node, parameters or {})) is not None:
            args = (*args[:2], bias, *args[3:])
        if node.index in self.folded:
            norm = self.graph.nodes[self.folded[node.index]]
            args = folded(args, resolve(norm.args, values))
        if self.lay_out and node.name == "conv2d":
            args = (args[0], _laid_out(args[1]), *args[2:])
        return Step(node.index, node.name, node.op, args, kwargs)

    def steps(self) -> list[Step]:
        """All calls, but for batch norms that are folded."""
        norms = set(self.folded.values())
        calls = (node for node in self.graph.nodes if node.kind == "call")
        return [self.step(node, self.values) for node in calls if node.index not in norms]

    def changed(self, parameters: Mapping[str, Tensor]) -> Iterator[Step]:
        """The steps of the calls that read some parameters, with other values of these."""
        nodes = self.graph.nodes
        held = {n.index: n.name for n in nodes if n.kind == "parameter" and n.name in parameters}
        values = {**self.values, **{index: parameters[name] for index, name in held.items()}}
        readers = [n.index for n in nodes if n.kind == "call" and held.keys() & set(n.inputs)]
        for index in dict.fromkeys(self.into.get(index, index) for index in readers):
            yield self.step(nodes[index], values, parameters)

    def _bias(self, node: Node, parameters: Mapping[str, Tensor]) -> Tensor | None:
        """The bias among some parameters that stands beside the weight of a layer without one."""
        _, weight, bias = (*node.args[:3], None, None, None)[:3]
        if bias is not None or not isinstance(weight, Ref):
            return None
        name = bias_of(self.graph.nodes[weight.index].name)
        return None if name in self.named else parameters.get(name)


def compile_program(graph: Graph, *, fold: bool = True, lay_out: bool = True) -> Program:
    """The graph's calls as a program.

    fold: batch norm into convolutions; lay_out: weights in memory as is fastest here
    """
    source = Source(graph, fold, lay_out)
    inputs = tuple(node.index for node in graph.nodes if node.kind == "input")
    output = source.values[graph.output].index
    return Program(_needed(source.steps(), output), inputs, output, source)


def _laid_out(weight: Any) -> Any:
    """A weight channels last: on a CPU the convolutions then need no change of layout between."""
    if isinstance(weight, Tensor) and weight.device.type == "cpu":
        return weight.contiguous(memory_format=torch.channels_last)
    return weight


def layout(tensor: Tensor) -> torch.memory_format:
    """How a tensor lies in memory: channels last, or row by row."""
    last = tensor.dim() == 4 and not tensor.is_contiguous()
    last = last and tensor.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def _needed(steps: Sequence[Step], output: int) -> tuple[Step, ...]:
    """The steps that the output depends on."""
    wanted, kept = {output}, []
    for step in reversed(steps):
        if step.index in wanted:
            wanted.update(step.inputs)
            kept.append(step)
    return tuple(kept[::-1])


class Run:
    """One batch on its way through the program: goes forward, stops where told, looks behind."""

    def __init__(
        self, program: Program, tensors: Iterable[Tensor], values: Mapping[int, Any] | None = None,
        position: int = 0,
    ) -> None:  # fmt: skip
        """At the start with its inputs, or at a position with the values alive there."""
        inputs = dict(zip(program.inputs, tensors, strict=True))
        self.program, self.position = program, position
        self.values: dict[int, Any] = inputs if values is None else dict(values)
        self.device = next((x.device for x in inputs.values()), torch.device("cpu"))

    def forward(self, stop: int) -> None:
        """Computes the steps before position `stop`."""
        for position in range(self.position, stop):
            step = self.program.steps[position]
            if step.index not in self.values:
                self.values[step.index] = step.run(self.values)
            for index in self.program.ends[position]:
                self.values.pop(index, None)
        self.position = max(self.position, stop)

    def ahead(self, positions: Iterable[int]) -> None:
        """Computes steps that lie behind the pause but that no cut here reaches."""
        for position in positions:
            step = self.program.steps[position]
            if step.index not in self.values:
                self.values[step.index] = step.run(self.values)

    def replay(
        self, steps: Sequence[Step], ends: Sequence[Sequence[int]],
        at: Mapping[int, Any] | None = None,
    ) -> Any:  # fmt: skip
        """The output if `steps`, some of them edited, are run on the values at the pause.

        at: other values to run on, such as those of a few of the images
        """
        values = _Over(self.values if at is None else at)
        for step, done in zip(steps, ends, strict=True):
            values[step.index] = step.run(values)
            for index in done:
                values.pop(index, None)
        return values[self.program.output]

    def forked(self) -> "Run":
        """Another run from here on, which leaves this one where it is."""
        fork = copy.copy(self)
        fork.values = dict(self.values)
        return fork

    def output(self) -> Any:
        self.forward(len(self.program.steps))
        return self.values[self.program.output]


class _Over(dict[int, Any]):
    """Values of a replay before those of the intact run, which stay untouched."""

    def __init__(self, below: Mapping[int, Any]) -> None:
        super().__init__()
        self.below = below

    def __missing__(self, index: int) -> Any:
        return self.below[index]


def frees(steps: Sequence[Step], keep: Iterable[int]) -> list[list[int]]:
    """For each step the values that nothing after it reads."""
    last: dict[int, int] = {}
    for position, step in enumerate(steps):
        for index in (step.index, *step.inputs):
            last[index] = position
    for index in keep:
        last.pop(index, None)
    freed: list[list[int]] = [[] for _ in steps]
    for index, position in last.items():
        freed[position].append(index)
    return freed
