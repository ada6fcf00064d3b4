"""Lesions by whole forward passes, for a network that no trace stands for.

What such a network does may depend on the images, so nothing is replayed: hooks put zeros in place
of the channels at the input of every layer that reads them, and the network runs as it is.  The
same hooks cut them for good from a copy of a network that is to change.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lesion.anatomy import keeps
from lesion.coupling import Edge
from lesion.dissect import Dissection
from lesion.engine import Cutting, One, edges
from lesion.errors import SubjectError
from lesion.plan import Target
from lesion.tracing import Call, Ref


class Whole:
    """Measures by one whole forward pass a lesion."""

    def __init__(self, dissection: Dissection) -> None:
        self.dissection, self.call = dissection, dissection.call
        graph = dissection.graph
        self._module: dict[int, str] = {}
        readers = {layer.weight: layer.name for layer in dissection.anatomy.layers}
        for node in graph.nodes:
            if len(node.args) > 1 and isinstance(node.args[1], Ref):
                weight = graph.nodes[node.args[1].index].name
                if weight in readers:
                    self._module[node.index] = readers[weight]
        self._path: list[str] = []
        self.outputs(self.call.tensors(self.call.leaves))

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

    def beyond(self, target: Target) -> str:
        """The first place where hooks cannot cut a target's channels; "" if they always can."""
        calls = list(self._module.values())
        for edge in edges(self.dissection, target):
            name = self._module.get(edge.node)
            once = calls.count(name) == 1 and self._path.count(name) == 1 if name else False
            if edge.role != "read" or not once:
                return name or self.dissection.graph.nodes[edge.node].name
        return ""

    def without(self, call: Call, target: Target, dropped: np.ndarray) -> "Whole":
        """The same of a copy of the network, that of `call`, with the target's channels cut.

        dropped: the labels that fall; they stay cut, however the copy is used or trained
        """
        other = copy.copy(self)
        other.call = call
        list(other._hooked(edges(self.dissection, target), dropped))
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
            found = edges(self.dissection, lesion.at)
            own: Sequence[Tensor] = tensors
            if cutting.rows is not None:
                rows = torch.from_numpy(cutting.rows)
                own = [t[rows] if t.dim() and len(t) == images else t for t in tensors]
            with self._cut(found, cutting.dropped):
                outputs = self.outputs(own)
            yield lesion, outputs
        if intact:
            yield None, self.outputs(tensors)

    def outputs(self, tensors: Sequence[Tensor]) -> Tensor:
        """What the network gives for a batch, in the mode that it is in."""
        path: list[str] = []
        with ExitStack() as stack:
            for name, module in self.call.network.named_modules():
                if any(True for _ in module.parameters(recurse=False)):
                    stack.enter_context(module.register_forward_pre_hook(_noting(path, name)))
            logits: Tensor = self.call(*(tensor.clone() for tensor in tensors))
        self._path = self._path or path
        if path != self._path:
            raise SubjectError(
                "Expected a network that runs the same layers on all images, because it cannot be "
                f"traced, but it ran {len(path)} where it ran {len(self._path)} on the first "
                "images, or others: make its forward independent of the values."
            )
        return logits

    @contextmanager
    def _cut(self, found: Sequence[Edge], gone: np.ndarray) -> Iterator[None]:
        with ExitStack() as stack:
            for handle in self._hooked(found, gone):
                stack.enter_context(handle)
            yield

    def _hooked(self, found: Sequence[Edge], gone: np.ndarray) -> Iterator[RemovableHandle]:
        for edge in found:
            keep = torch.from_numpy(keeps(edge.labels.numpy(), gone))
            module = self.call.network.get_submodule(self._module[edge.node])
            yield module.register_forward_pre_hook(_masking(keep))


def _noting(path: list[str], name: str):  # type: ignore[no-untyped-def]
    def hook(*_: object) -> None:
        path.append(name)

    return hook


def _masking(keep: Tensor):  # type: ignore[no-untyped-def]
    def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x, *rest = inputs
        return (x * keep.to(x), *rest)

    return hook
