"""Consumers: the weights through which what an edit changes flows first."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lesion.engine.moments import FITTED, Layout
from lesion.lesions.edits import Edit, Mended
from lesion.lesions.readers import Readers
from lesion.network.dissect import Dissection
from lesion.network.downstream import behind
from lesion.network.graph import Ref, state_of
from lesion.network.program import Program


@dataclass(frozen=True)
class Consumer:
    """A weight that can be fitted, and what can take a constant beside it.

    places: where in the program it is used, rising; bias: the parameter that is added to what it
    makes, mean: the running mean that is subtracted behind it, "" for none
    """

    weight: str
    places: tuple[int, ...]
    bias: str = ""
    mean: str = ""


@dataclass(frozen=True, eq=False)
class Consumers:
    """The weights of a traced network that can be fitted."""

    dissection: Dissection
    program: Program

    @cached_property
    def readers(self) -> Readers:
        """The weights of all modules."""
        network = self.dissection.call.network
        return Readers(self.dissection, {name for name, _ in network.named_modules()})

    def of(self, edit: Edit) -> list[Consumer]:
        """The weights through which what an edit changes flows first, in order of depth."""
        users, position = self.dissection.graph.users(), self.program.position
        todo, seen, weights = list(edit.nodes), set[int](), dict[str, Consumer]()
        while todo:
            node = todo.pop()
            if node in seen or node not in position:
                continue
            seen.add(node)
            if (weight := self._fitted(node)) is None:
                todo += users[node]
            elif weight not in weights:
                weights[weight] = self._consumer(weight)
        return sorted(weights.values(), key=lambda consumer: consumer.places)

    def _fitted(self, node: int) -> str | None:
        """The weight that a node can be fitted by, None where it has none."""
        nodes = self.dissection.graph.nodes
        call = nodes[node]
        if call.operation not in FITTED or not isinstance(call.args[1], Ref):
            return None
        weight = nodes[call.args[1].index]
        plain = weight.kind == "parameter" and not weight.args and weight.name in self._state
        return weight.name if plain else None

    @cached_property
    def _state(self) -> set[str]:
        return {name for name, _ in state_of(self.dissection.call.network)}

    def _consumer(self, weight: str) -> Consumer:
        graph = self.dissection.graph
        calls = [n for n in graph.nodes if n.kind == "call" and self._fitted(n.index) == weight]
        places = tuple(sorted(self.program.position[call.index] for call in calls))
        biases = {self._name(call.args[2]) if len(call.args) > 2 else "" for call in calls}
        means, users = set[str](), graph.users()
        for call in calls:
            readers = [graph.nodes[index] for index in users[call.index]]
            norm = len(readers) == 1 and readers[0].operation == "batch_norm"
            means.add(self._name(readers[0].args[3]) if norm else "")
        return Consumer(weight, places, *(_only(names) for names in (biases, means)))

    def _name(self, given: Any) -> str:
        """The parameter of the network that an argument is, "" for none."""
        node = self.dissection.graph.nodes[given.index] if isinstance(given, Ref) else None
        plain = node is not None and node.kind == "parameter" and not node.args
        return node.name if node is not None and plain and node.name in self._state else ""

    def layout(self, consumer: Consumer) -> Layout:
        """How its weight is a matrix."""
        return Layout.of(self.program.steps[consumer.places[0]])

    def free(self, consumer: Consumer, edit: Edit) -> Tensor:
        """(groups, reads): which columns of a consumer an edit does not set itself."""
        weight = self.program.parameters[consumer.weight]
        held = edit.held(self.readers, self.dissection.call.network).get(consumer.weight)
        if held is None:
            held = torch.zeros_like(weight, dtype=torch.bool)
        return ~self.layout(consumer).matrix(held.expand(weight.shape)).any(2)

    def rows(self, consumer: Consumer, images: int) -> int:
        """How many rows so many images give for a fit."""
        layers = self.dissection.anatomy.layers
        positions = {layer.weight: layer.positions for layer in layers}[consumer.weight]
        return images * positions

    def plain(self, edit: Mended, consumers: Sequence[Consumer]) -> bool:
        """Whether an edit changes what consumers make by their weights alone, not what they
        read."""
        if edit.parameters or edit.edit.obstacle(self.readers):
            return False
        position = self.program.position
        places = {place for consumer in consumers for place in consumer.places}
        if places != {position[node] for node in edit.nodes}:
            return False
        steps = self.program.steps
        return not any(
            places & set(behind(self.program, [steps[place].index]).replayed[1:])
            for place in places
        )


def _only(names: set[str]) -> str:
    """The one name of several uses, "" where they differ."""
    return next(iter(names)) if len(names) == 1 else ""
