"""Additions of which the stream alone is left: y = x + f(x) becomes y = x.

A replay leaves the branch out.  Where a network runs as a whole, its branch gives zero if all that
ends it is zero: the weight and bias of a last layer, or the factors and shifts of a norm behind it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lesion.lesions.readers import Readers, tensor_of
from lesion.lesions.zeros import cleared, hold_clear
from lesion.network.blocks import Branch
from lesion.network.dissection import Dissection
from lesion.network.graph import Graph, Node, Ref, state_of
from lesion.network.program import Program, Step
from lesion.network.rules.layers import CONVOLUTIONS, LINEAR, TRANSPOSED

# where the parameters of an operation stand that is zero where all of these are
AFFINE = {
    **dict.fromkeys(CONVOLUTIONS | TRANSPOSED | LINEAR, (1, 2)),
    "batch_norm": (1, 2),
    "layer_norm": (2, 3),
}
# that give zero for zero, position by position or moved
ZERO_FOR_ZERO = {
    *("relu", "relu6", "gelu", "silu", "tanh", "hardswish", "dropout", "feature_dropout", "mul"),
    *("view", "reshape", "flatten", "unflatten", "permute", "transpose", "clone", "contiguous"),
    *("roll", "slice", "squeeze", "unsqueeze", "alias", "detach"),
}


@dataclass(frozen=True, eq=False)
class Bypass:
    """Branches are gone from the additions in which they meet their streams.

    branches: by rising node; ends: of each the parameters that are all zero where it gives zero,
        none where nothing of the network's own does that
    """

    branches: tuple[Branch, ...]
    ends: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, dissection: Dissection, blocks: tuple[str, ...]) -> "Bypass":
        """Some blocks of a traced network are gone, each of which is added to its stream."""
        chosen = sorted((dissection.branches[name] for name in blocks), key=lambda b: b.node)
        ends = (tuple(_ends(dissection.graph, branch)) for branch in chosen)
        return cls(tuple(chosen), tuple(ends))

    @cached_property
    def nodes(self) -> tuple[int, ...]:
        """The additions."""
        return tuple(branch.node for branch in self.branches)

    @cached_property
    def key(self) -> bytes:
        """Of the additions and their streams."""
        return sha256(f"bypass {self.branches}".encode()).digest()

    def steps(self, program: Program) -> dict[int, Step]:
        """In place of each addition its stream, as it is."""
        places = {program.position[branch.node]: branch.stream for branch in self.branches}
        return {
            place: replace(program.steps[place], op=_stream, args=(program.steps[place].args[at],))
            for place, at in places.items()
        }

    def obstacle(self, readers: Readers) -> str:
        """The first addition whose branch no zeros end that the modules which run hold."""
        network = readers.dissection.call.network
        held = [id(tensor) for _, tensor in state_of(network)]
        for branch, ends in zip(self.branches, self.ends, strict=True):
            alone = (held.count(id(tensor_of(network, e))) == 1 for e in ends if readers.holds(e))
            if not ends or list(alone) != [True] * len(ends):
                module = readers.dissection.graph.nodes[branch.node].module
                return f"the sum in {module or 'the network'}"
        return ""

    def weights(self, readers: Readers, network: nn.Module) -> dict[str, Tensor]:
        """Zeros at the end of each branch."""
        return cleared(network, self.held(readers, network))

    def hooks(self, network: nn.Module) -> list[RemovableHandle]:
        """None."""
        return []

    def hold(self, readers: Readers, network: nn.Module) -> None:
        """The ends are zero from now on, in every pass of their module or the network."""
        hold_clear(network, self.held(readers, network))

    def held(self, readers: Readers, network: nn.Module) -> Mapping[str, Tensor]:
        """All of the parameters at the ends."""
        names = (name for ends in self.ends for name in ends)
        return {name: torch.ones_like(tensor_of(network, name), dtype=torch.bool) for name in names}


def _stream(x: Tensor) -> Tensor:
    return x


def _ends(graph: Graph, branch: Branch) -> Iterator[str]:
    """The parameters at the end of a branch; none where others read what lies behind them."""
    users = graph.users()
    node, index = branch.node, graph.nodes[branch.node].inputs[1 - branch.stream]
    while users[index] == [node]:
        last = graph.nodes[index]
        if last.operation in AFFINE:
            yield from _parameters(graph, last, users)
            return
        computed = [i for i in last.inputs if graph.nodes[i].kind == "call"]
        if last.operation not in ZERO_FOR_ZERO or not computed:
            return
        node, index = index, computed[0]


def _parameters(graph: Graph, node: Node, users: list[list[int]]) -> list[str]:
    """An operation's weight and bias; none where one is no parameter of this operation alone."""
    places = (at for at in AFFINE[node.operation] if at < len(node.args))
    given = [node.args[at] for at in places if node.args[at] is not None]
    nodes = [graph.nodes[ref.index] for ref in given if isinstance(ref, Ref)]
    alone = [n for n in nodes if n.kind == "parameter" and not n.args and len(users[n.index]) == 1]
    return [n.name for n in alone] if nodes and len(alone) == len(given) else []
