"""What a lesion does to a network: which operations change, and what they are then.

An edit knows nothing of images.  A replay takes the operations from it; where a network runs as a
whole, as one that no trace stands for or one that is to be trained, it takes the weights.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lesion.lesions.lesion import Target
from lesion.lesions.readers import Readers, tensor_of
from lesion.lesions.removal import without
from lesion.lesions.zeros import cleared, hold_clear
from lesion.network.dissection import Dissection
from lesion.network.labels import Edge
from lesion.network.program import Program, Step


class Edit(Protocol):
    """What is done to a network; it can be pickled, and means the same wherever it is traced."""

    @property
    def nodes(self) -> tuple[int, ...]:
        """The operations that change, by their numbers in the graph, rising: there a replay
        pauses."""

    @property
    def key(self) -> bytes:
        """Edits that do the same have equal keys, and no others have."""

    def steps(self, program: Program) -> Mapping[int, Step]:
        """The changed operations of a program, by their places in it."""

    def obstacle(self, readers: Readers) -> str:
        """Where a whole pass cannot do it exactly, "" if it can."""

    def weights(self, readers: Readers, network: nn.Module) -> Mapping[str, Tensor]:
        """The weights that a whole pass takes in place of the network's, by name."""

    def hooks(self, network: nn.Module) -> list[RemovableHandle]:
        """Puts on a network what a whole pass goes through beside these weights."""

    def hold(self, readers: Readers, network: nn.Module) -> None:
        """Does it to a copy of the network for good, however that is used or trained."""

    def held(self, readers: Readers, network: nn.Module) -> Mapping[str, Tensor]:
        """Which entries of weights it sets, by name, as booleans: others may be mended."""


@dataclass(frozen=True, eq=False)
class Channels:
    """Channels are gone: where they are read nothing comes of them.

    edges: where the channels of a target are read; dropped: (labels,) booleans, what falls
    """

    edges: tuple[Edge, ...]
    dropped: np.ndarray

    @cached_property
    def nodes(self) -> tuple[int, ...]:
        """The operations that read the channels."""
        return tuple(sorted({edge.node for edge in self.edges}))

    @cached_property
    def key(self) -> bytes:
        """Of the edges with their labels, and of what falls."""
        digest = sha256(b"channels")
        for edge in self.edges:
            digest.update(f"{edge.node} {edge.argument} {edge.role} {edge.labels.shape}".encode())
            digest.update(edge.labels.numpy().tobytes())
        digest.update(self.dropped.tobytes())
        return digest.digest()

    def steps(self, program: Program) -> dict[int, Step]:
        """The operations without what falls."""
        steps: dict[int, Step] = {}
        for edge in self.edges:
            place = program.position[edge.node]
            steps[place] = without(steps.get(place, program.steps[place]), edge, self.dropped)
        return steps

    def obstacle(self, readers: Readers) -> str:
        """The first place where no weight's columns are all that reads the channels."""
        return readers.beyond(self.edges)

    def weights(self, readers: Readers, network: nn.Module) -> dict[str, Tensor]:
        """The weights that read the channels, with zeros in the columns of what falls."""
        columns = readers.columns(self.edges, self.dropped, network)
        return cleared(network, columns)

    def hooks(self, network: nn.Module) -> list[RemovableHandle]:
        """None."""
        return []

    def hold(self, readers: Readers, network: nn.Module) -> None:
        """The columns are zero from now on, in every pass of their module or the network."""
        hold_clear(network, readers.columns(self.edges, self.dropped, network))

    def held(self, readers: Readers, network: nn.Module) -> dict[str, Tensor]:
        """The columns of what falls."""
        return readers.columns(self.edges, self.dropped, network)


@dataclass(frozen=True, eq=False)
class Weight:
    """A weight is another one of the same shape.

    name: the parameter's; nodes: the operations that read it
    change: makes the other of it, of the weight as the network has it: batch norm that is folded
        into a convolution is folded anew behind it
    key: tells the change from others
    keep: whether the other weight is kept once it is made, rather than made for each batch anew
    """

    name: str
    nodes: tuple[int, ...]
    change: Callable[[Tensor], Tensor]
    key: bytes
    keep: bool = False

    @classmethod
    def of(
        cls,
        dissection: Dissection,
        layer: str,
        change: Callable[[Tensor], Tensor],
        key: str,
        keep: bool = False,
    ) -> "Weight":
        """The change of a layer's weight; key: a text that tells what `change` does.

        change: takes the weight (filters, …) as the module holds it and gives one of that shape;
            to be measured in several processes it has to be picklable (functools.partial of a
            function of a module)
        keep: of a change that takes long
        """
        name, graph = dissection.anatomy.layer[layer].weight, dissection.graph
        held = {n.index for n in graph.nodes if n.kind == "parameter" and n.name == name}
        nodes = tuple(node.index for node in graph.nodes if held.intersection(node.inputs))
        return cls(name, nodes, change, f"weight/{name}/{key}".encode(), keep)

    def idle(self, weight: Tensor) -> bool:
        """Whether the other weight is the same, but for what rounding may change."""
        return bool((self.changed(weight) - weight).abs().max() <= 1e-6 * weight.abs().max())

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_made"}

    def steps(self, program: Program) -> dict[int, Step]:
        """The operations with the other weight."""
        return program.recompiled({self.name: self.changed(program.parameters[self.name])})

    def obstacle(self, readers: Readers) -> str:
        """The weight itself, where the modules that run do not hold it."""
        return "" if readers.holds(self.name) else self.name

    def weights(self, readers: Readers, network: nn.Module) -> dict[str, Tensor]:
        """The other weight."""
        return {self.name: self.changed(tensor_of(network, self.name))}

    def hooks(self, network: nn.Module) -> list[RemovableHandle]:
        """None."""
        return []

    def hold(self, readers: Readers, network: nn.Module) -> None:
        """The copy has the other weight, from which training goes on."""
        weight = tensor_of(network, self.name)
        weight.data = self._other(weight)

    def held(self, readers: Readers, network: nn.Module) -> dict[str, Tensor]:
        """All of the weight."""
        return {self.name: torch.ones_like(tensor_of(network, self.name), dtype=torch.bool)}

    @cached_property
    def _made(self) -> list[tuple[Tensor, int, Tensor]]:
        """The weight that was changed last, its version, and what came of it."""
        return []

    def changed(self, weight: Tensor) -> Tensor:
        """The other weight, in place of one."""
        if not self.keep:
            return self._other(weight)
        version = weight._version
        if not self._made or self._made[0][0] is not weight or self._made[0][1] != version:
            self._made[:] = [(weight, version, self._other(weight))]
        return self._made[0][2]

    @torch.no_grad()
    def _other(self, weight: Tensor) -> Tensor:
        changed = self.change(weight.detach().clone())
        if changed.shape != weight.shape:
            raise ValueError(
                f"Expected a weight of {tuple(weight.shape)} in place of {self.name}, got "
                f"{tuple(changed.shape)}."
            )
        return changed.to(weight)


def channels(dissection: Dissection, target: Target, dropped: np.ndarray) -> Channels:
    """The edit that removes labels of a target; see `edges`."""
    return Channels(edges(dissection, target), dropped)


def edges(dissection: Dissection, target: Target) -> tuple[Edge, ...]:
    """The edges at which a target's channels are cut, in order of execution."""
    if target.kind == "branch":
        return dissection.flows[target.name]
    units = target.units or (target.name,)
    places = {place for unit in units for place in dissection.readers.get(unit, ())}
    return tuple(dissection.reads[place] for place in sorted(places))
