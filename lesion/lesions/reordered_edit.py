"""Blocks that change places: each place computes with the parameters of the block that comes there.

Where two blocks do the same operations in the same way, this is the network whose modules were
permuted, in every pass, with all that a block holds: layers, norms, gates and scales.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lesion.errors import LesionError
from lesion.lesions.readers import Readers, tensor_of
from lesion.network.blocks import Branch
from lesion.network.dissection import Dissection
from lesion.network.graph import Graph, Node, Ref, resolve, state_of
from lesion.network.program import Program, Step


@dataclass(frozen=True, eq=False)
class Reordered:
    """Parameters have the values of others, which are their counterparts in another block.

    sources: of each parameter that changes the one whose values it has, by name
    nodes: the operations that read the first of these, rising
    """

    sources: Mapping[str, str]
    nodes: tuple[int, ...]

    @classmethod
    def of(cls, dissection: Dissection, moves: Mapping[str, str]) -> "Reordered":
        """Blocks come to the places of others.

        moves: of each block whose place another takes, that block

        Raises LesionError where two blocks do not correspond operation by operation, or something
        outside reads their parameters or what they compute inside.
        """
        blocks = _Blocks(dissection.graph, dissection.branches)
        pairs, graph = blocks.pairs(moves), dissection.graph
        users, sources, reading = graph.users(), dict[str, str](), set[int]()
        for here, there in sorted(pairs.items()):
            node = graph.nodes[here]
            if node.kind == "parameter":
                if not pairs.keys() >= set(users[here]):
                    raise LesionError(f"{node.name} serves outside its block as well")
                sources[node.name] = graph.nodes[there].name
                reading.update(users[here])
        return cls(sources, tuple(sorted(reading)))

    @cached_property
    def key(self) -> bytes:
        """Of the parameters and their sources."""
        return sha256(f"reordered {self.sources}".encode()).digest()

    def steps(self, program: Program) -> dict[int, Step]:
        """The operations on the other values."""
        values = program.parameters
        return program.recompiled({name: values[there] for name, there in self.sources.items()})

    def obstacle(self, readers: Readers) -> str:
        """The first parameter that the modules which run do not hold alone under its name."""
        held = [id(tensor) for _, tensor in state_of(readers.dissection.call.network)]
        network = readers.dissection.call.network
        for name in self.sources:
            if not readers.holds(name) or held.count(id(tensor_of(network, name))) > 1:
                return name
        return ""

    def weights(self, readers: Readers, network: nn.Module) -> dict[str, Tensor]:
        """The other values."""
        return {name: tensor_of(network, there) for name, there in self.sources.items()}

    def hooks(self, network: nn.Module) -> list[RemovableHandle]:
        """None."""
        return []

    def hold(self, readers: Readers, network: nn.Module) -> None:
        """The copy has the other values, from which training goes on."""
        values = {name: t.detach().clone() for name, t in self.weights(readers, network).items()}
        for name, value in values.items():
            tensor_of(network, name).data = value

    def held(self, readers: Readers, network: nn.Module) -> dict[str, Tensor]:
        """All of these parameters."""
        return {
            name: torch.ones_like(tensor_of(network, name), dtype=torch.bool)
            for name in self.sources
        }


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Where blocks lie in a graph: from the stream to the sum, and what follows it in the module.

    branches: by a block's name
    """

    graph: Graph
    branches: Mapping[str, Branch]

    def pairs(self, moves: Mapping[str, str]) -> dict[int, int]:
        """Of each node in blocks whose places others take the counterpart."""
        pairs = dict[int, int]()
        for here, there in moves.items():
            pairs |= self._matched(here, there)
        tails = {move: self._tails(*move) for move in moves.items()}
        stays = any(tail is None and self._several(here) for (here, _), tail in tails.items())
        for (here, there), tail in tails.items():
            if stays and self._several(here):
                continue  # what follows these sums is the surrounding module's
            if tail is None:
                raise LesionError(f"what follows the sums of {here} and {there} differs")
            pairs |= tail
        return {here: there for here, there in pairs.items() if here != there}

    def _matched(self, here: str, there: str) -> dict[int, int]:
        """The nodes of a branch, without its stream, with those of another."""
        branches = self.branches[here], self.branches[there]
        sums = [self.graph.nodes[branch.node] for branch in branches]
        streams = [n.inputs[b.stream] for n, b in zip(sums, branches, strict=True)]
        first, second = (n.inputs[1 - b.stream] for n, b in zip(sums, branches, strict=True))
        for name, stream in zip((here, there), streams, strict=True):
            if self._within(self.graph.nodes[stream], name) and not self._several(name):
                raise LesionError(f"{name} changes its stream before it adds to it")
        pairs = self._walk({streams[0]: streams[1]}, first, second)
        if pairs is None:
            raise LesionError(
                f"{here} and {there} have layers of equal shapes, but their operations do not "
                "correspond one by one"
            )
        del pairs[streams[0]]
        self._closed(here, pairs)
        return pairs

    def _walk(self, pairs: dict[int, int], first: int, second: int) -> dict[int, int] | None:
        """Nodes on which two values depend, one by one, up to pairs that are known; None where
        they are not alike."""
        todo, nodes = [(first, second)], self.graph.nodes
        while todo:
            here, there = todo.pop()
            if here in pairs or here == there:
                if pairs.setdefault(here, there) != there:
                    return None
                continue
            if not self._alike(nodes[here], nodes[there]):
                return None
            pairs[here] = there
            todo += zip(nodes[here].inputs, nodes[there].inputs, strict=True)
        return pairs

    def _alike(self, first: Node, second: Node) -> bool:
        """Whether two nodes do the same, whatever values and parameters they read."""
        if first.kind != second.kind or first.kind == "input":
            return False
        if first.kind == "parameter":
            tensors = [self.graph.parameters[node.name] for node in (first, second)]
            return len({(tensor.shape, tensor.dtype) for tensor in tensors}) == 1
        blank = [Ref(-1)] * len(self.graph.nodes)
        forms = [(n.op, resolve((n.args, n.kwargs), blank)) for n in (first, second)]
        return bool(forms[0] == forms[1])

    def _closed(self, block: str, pairs: Mapping[int, int]) -> None:
        """Raises LesionError where what a branch computes inside is read outside."""
        nodes, needed, users = self.graph.nodes, self.graph.reaching, self.graph.users()
        around = {*pairs, self.branches[block].node}
        computed = (i for i, there in pairs.items() if i != there and nodes[i].kind == "call")
        outside = {user for index in computed for user in users[index]} & needed - around
        if outside:
            where = nodes[min(outside)].module or "the network"
            raise LesionError(f"{where} reads what {block} computes inside")

    def _tails(self, here: str, there: str) -> dict[int, int] | None:
        """What follows a sum in its module with what follows another; None where they differ."""
        first, second = [*self._tail(here)], [*self._tail(there)]
        if len(first) != len(second):
            return None
        pairs = {self.branches[here].node: self.branches[there].node}
        for pair in zip(first, second, strict=True):
            matched = self._walk(pairs, *pair)
            if matched is None:
                return None
            pairs = matched
        return pairs

    def _tail(self, block: str) -> Iterator[int]:
        """The operations on a sum alone, one after the other, in the module where it is made."""
        users, needed = self.graph.users(), self.graph.reaching
        live, at = self.graph.varying(by_size=False), self.branches[block].node
        while at != self.graph.output:
            readers = [self.graph.nodes[index] for index in users[at] if index in needed]
            if len(readers) != 1 or not self._within(readers[0], block):
                return
            if live.intersection(readers[0].inputs) != {at}:
                return
            at = readers[0].index
            yield at

    def _within(self, node: Node, block: str) -> bool:
        """Whether a node runs in the module that makes a block's sum, the network itself apart."""
        module = self._module(block)
        return bool(module) and f"{node.module}.".startswith(f"{module}.")

    def _several(self, block: str) -> bool:
        """Whether that module makes sums of other blocks too, so that it is no block by itself."""
        modules = [self._module(name) for name in self.branches]
        return modules.count(self._module(block)) > 1

    def _module(self, block: str) -> str:
        return self.graph.nodes[self.branches[block].node].module


def moved(order: Iterable[str], places: Iterable[str]) -> dict[str, str]:
    """Of each place that another block takes, that block."""
    return {place: block for place, block in zip(places, order, strict=True) if place != block}
