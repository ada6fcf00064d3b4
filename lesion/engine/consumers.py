"""Consumers: the weights through which what an edit changes flows first."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lesion.engine.moments import FITTED
from lesion.lesions.edits import Channels, Edit, Weight
from lesion.lesions.mended_edit import Mended
from lesion.lesions.readers import Readers
from lesion.lesions.value_edits import Values
from lesion.network.dissection import Dissection
from lesion.network.downstream import behind
from lesion.network.graph import Ref, state_of
from lesion.network.layout import Layout
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
        users, position = self._users, self.program.position
        todo, seen, weights = list(edit.nodes), set[int](), dict[str, Consumer]()
        if isinstance(edit, Values) and edit.after is not None:  # it changes what the layer gave
            todo = [user for node in edit.nodes for user in users[node]]
        while todo:
            node = todo.pop()
            if node in seen or node not in position:
                continue
            seen.add(node)
            if node not in self._fitted:
                todo += users[node]
            elif (weight := self._fitted[node]) not in weights:
                weights[weight] = self._consumer(weight)
        return sorted(weights.values(), key=lambda consumer: consumer.places)

    @cached_property
    def _fitted(self) -> dict[int, str]:
        """The operations that can be fitted, with the weight of each."""
        calls: dict[Ref, list[int]] = {}
        for node in self.dissection.graph.nodes:
            runs = node.index in self.program.position
            if runs and node.operation in FITTED and isinstance(node.args[1], Ref):
                calls.setdefault(node.args[1], []).append(node.index)
        names = {ref: self._name(ref, indices) for ref, indices in calls.items()}
        return {
            index: names[ref]
            for ref, indices in calls.items()
            for index in indices
            if names[ref] in self._positions
        }

    @cached_property
    def _positions(self) -> dict[str, int]:
        """How many positions of one image each layer computes, by its weight."""
        return {layer.weight: layer.positions for layer in self.dissection.anatomy.layers}

    @cached_property
    def _users(self) -> list[list[int]]:
        return self.dissection.graph.users()

    @cached_property
    def _held(self) -> Counter[int]:
        """Under how many names the network holds each tensor."""
        return Counter(id(tensor) for _, tensor in state_of(self.dissection.call.network))

    @cached_property
    def _state(self) -> dict[str, Tensor]:
        return dict(state_of(self.dissection.call.network))

    def _consumer(self, weight: str) -> Consumer:
        nodes = self.dissection.graph.nodes
        indices = [index for index, name in self._fitted.items() if name == weight]
        calls = [nodes[index] for index in indices]
        places = tuple(sorted(self.program.position[index] for index in indices))
        biases = {self._name(call.args[2], indices) if len(call.args) > 2 else "" for call in calls}
        readers = [self._users[index] for index in indices]
        norms = [index for users in readers for index in users]
        behind_each = all(
            len(users) == 1 and nodes[users[0]].operation == "batch_norm" for users in readers
        )
        means = {self._name(nodes[norm].args[3], norms) if behind_each else "" for norm in norms}
        return Consumer(weight, places, *(_only(names) for names in (biases, means)))

    def _name(self, given: Any, readers: Collection[int]) -> str:
        """The parameter of the network that an argument is, "" for none, or where others than
        these read it or it has two names."""
        if not isinstance(given, Ref):
            return ""
        node = self.dissection.graph.nodes[given.index]
        tensor = self._state.get(node.name) if node.kind == "parameter" else None
        if tensor is None or node.args or self._held[id(tensor)] > 1:
            return ""
        return node.name if set(self._users[node.index]) <= set(readers) else ""

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
        return images * self._positions[consumer.weight]

    def plain(self, edit: Mended, consumers: Sequence[Consumer]) -> bool:
        """Whether an edit changes what consumers make by their weights alone, not what they
        read."""
        alone = isinstance(edit.edit, (Channels, Weight))
        if edit.parameters or not alone or edit.edit.obstacle(self.readers):
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
