"""Lesions by whole forward passes, for a network that no trace stands for.

What such a network does may depend on the images, so nothing is replayed: the network runs as it
is, with zeros in place of the columns that read the channels in every weight that reads them.  What
a module does to its input before its own operation does not matter then.  From a copy of a network
that is to change they are cut for good: hooks hold the columns at zero.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from lesion.anatomy import keeps
from lesion.coupling import CONVOLUTIONS, TRANSPOSED, Edge
from lesion.damage.filters import along_weight
from lesion.dissect import Dissection
from lesion.engine import Cutting, One, edges
from lesion.errors import SubjectError
from lesion.plan import Target
from lesion.tracing import Call, state_of

Columns = Mapping[str, Tensor]  # by a weight's name, True where it reads what falls


class Whole:
    """Measures by one whole forward pass a lesion."""

    def __init__(self, dissection: Dissection) -> None:
        self.dissection, self.call = dissection, dissection.call
        self._path: list[str] = []
        self.outputs(self.call.tensors(self.call.leaves))
        self._tensors, self._users = self._parameters()

    def obstacle(self, target: Target) -> str:
        """Why a target's lesions cannot be measured exactly; "" if they can."""
        if not edges(self.dissection, target):
            return "nothing reads its channels"
        where = self.beyond(target)
        if not where:
            return ""
        return (
            f"the network cannot be traced ({self.dissection.anatomy.whole}), and hooks "
            f"cannot cut its channels at {where}"
        )

    def _parameters(self) -> tuple[dict[int, int], dict[int, set[int]]]:
        """Which tensor each parameter of the modules that ran is, and what reads each tensor."""
        graph, state = self.dissection.graph, dict(state_of(self.call.network))
        users, tensors, readers = graph.users(), dict[int, int](), dict[int, set[int]]()
        ran = {id(value) for name, value in state.items() if name.rpartition(".")[0] in self._path}
        for node in graph.nodes:
            if node.kind == "parameter" and id(state.get(node.name)) in ran:
                tensors[node.index] = tensor = id(state[node.name])
                readers.setdefault(tensor, set()).update(users[node.index])
        return tensors, readers

    def beyond(self, target: Target) -> str:
        """The first place where no weight's columns are all that reads a target's channels; ""
        if there is none."""
        reading: dict[int, list[Edge]] = {}
        for edge in edges(self.dissection, target):
            if (weight := self._weight(edge)) is None:
                return self._place(edge)
            reading.setdefault(weight, []).append(edge)
        for weight, read in reading.items():
            alike = all(edge.labels.equal(read[0].labels) for edge in read)
            if not alike or {edge.node for edge in read} != self._users[weight]:
                return self._place(read[0])
        return ""

    def without(self, call: Call, target: Target, dropped: np.ndarray) -> "Whole":
        """The same of a copy of the network, that of `call`, with the target's channels cut.

        dropped: the labels that fall; they stay cut, however the copy is used or trained
        """
        other = copy.copy(self)
        other.call = call
        for name, gone in self._columns(target, dropped).items():
            _hold(call.network, name, gone)
        return other

    def run(
        self, tensors: Sequence[Tensor], cuts: Mapping[One, Cutting], intact: bool = True,
        keys: np.ndarray | None = None,
    ) -> Iterator[tuple[One | None, Tensor]]:  # fmt: skip
        """The outputs of each lesion on its rows, and last under None the intact network's.

        Raises SubjectError where a pass runs other layers than on the first images, for then it is
        not known where the channels go.
        """
        images = len(tensors[0])
        for lesion, cutting in cuts.items():
            own: Sequence[Tensor] = tensors
            if cutting.rows is not None:
                rows = torch.from_numpy(cutting.rows)
                own = [t[rows] if t.dim() and len(t) == images else t for t in tensors]
            yield lesion, self.outputs(own, self._columns(lesion.at, cutting.dropped))
        if intact:
            yield None, self.outputs(tensors)

    def outputs(self, tensors: Sequence[Tensor], gone: Columns | None = None) -> Tensor:
        """What the network gives for a batch, in the mode that it is in, without some columns."""
        path: list[str] = []
        with ExitStack() as stack:
            for name, module in self.call.network.named_modules():
                if any(True for _ in module.parameters(recurse=False)):
                    stack.enter_context(module.register_forward_pre_hook(_noting(path, name)))
            logits = self._called([tensor.clone() for tensor in tensors], gone or {})
        self._path = self._path or path
        if path != self._path:
            raise SubjectError(
                "Expected a network that runs the same layers on all images, because it cannot be "
                f"traced, but it ran {len(path)} where it ran {len(self._path)} on the first "
                "images, or others: make its forward independent of the values."
            )
        return logits

    def _called(self, tensors: Sequence[Tensor], gone: Columns) -> Tensor:
        if not gone:
            return self.call(*tensors)  # type: ignore[no-any-return]
        weights = {}
        for name, columns in gone.items():
            weight = _tensor(self.call.network, name)
            weights[f"network.{name}"] = weight.masked_fill(columns.to(weight.device), 0)
        return functional_call(self.call, weights, tuple(tensors))  # type: ignore[no-any-return]

    def _columns(self, target: Target, dropped: np.ndarray) -> Columns:
        """The columns that fall of the weights that read a target's channels; see `beyond`."""
        fallen: dict[str, Tensor] = {}
        for edge in edges(self.dissection, target):
            node = self.dissection.graph.nodes[edge.node]
            name = self.dissection.graph.nodes[node.args[1].index].name
            keep = torch.from_numpy(keeps(edge.labels.numpy(), dropped)).reshape(-1)
            fallen[name] = ~along_weight(node.name, _tensor(self.call.network, name), keep)
        return fallen

    def _weight(self, edge: Edge) -> int | None:
        """The tensor whose columns read an edge's channels, None where there is none."""
        if edge.role != "read":
            return None
        node = self.dissection.graph.nodes[edge.node]
        if node.name not in CONVOLUTIONS | TRANSPOSED | {"linear"}:
            return None
        return self._tensors.get(node.args[1].index)

    def _place(self, edge: Edge) -> str:
        """Where an edge is: the layer, or the operation."""
        nodes, layers = self.dissection.graph.nodes, self.dissection.anatomy.layers
        if edge.node >= len(nodes):
            return "the outputs"
        names = {layer.weight: layer.name for layer in layers}
        read = [nodes[index].name for index in nodes[edge.node].inputs]
        return next((names[name] for name in read if name in names), nodes[edge.node].name)


def _tensor(network: nn.Module, name: str) -> Tensor:
    owner, _, last = name.rpartition(".")
    value: Tensor = getattr(network.get_submodule(owner), last)
    return value


def _hold(network: nn.Module, name: str, fallen: Tensor) -> None:
    """Columns of a weight are zero from now on, in every pass of its module or the network."""
    owner, _, last = name.rpartition(".")
    for module, own in {network: name, network.get_submodule(owner): last}.items():
        hook = _clearing(own, fallen)
        hook(module)
        module.register_forward_pre_hook(hook)


def _clearing(name: str, fallen: Tensor) -> Callable[..., None]:
    @torch.no_grad()
    def hook(module: nn.Module, *_: Any) -> None:
        weight = _tensor(module, name)
        columns = fallen.to(weight.device).expand_as(weight)
        if weight[columns].any():  # training has moved them
            weight.masked_fill_(columns, 0)

    return hook


def _noting(path: list[str], name: str) -> Callable[..., None]:
    def hook(*_: object) -> None:
        path.append(name)

    return hook
