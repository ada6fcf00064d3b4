"""Lesions by whole forward passes, for a network that no trace stands for.

What such a network does may depend on the images, so nothing is replayed: hooks put zeros in place
of the channels at the input of every layer that reads them, and the network runs as it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from lesion.anatomy import keeps
from lesion.coupling import Edge
from lesion.dissect import Dissection
from lesion.engine import edges
from lesion.errors import SubjectError
from lesion.plan import Lesion, Target
from lesion.tracing import Ref


class Whole:
    """Measures by one whole forward pass a lesion."""

    def __init__(self, dissection: Dissection) -> None:
        self.dissection = dissection
        graph = dissection.graph
        self._module: dict[int, str] = {}
        readers = {layer.weight: layer.name for layer in dissection.anatomy.layers}
        for node in graph.nodes:
            if len(node.args) > 1 and isinstance(node.args[1], Ref):
                weight = graph.nodes[node.args[1].index].name
                if weight in readers:
                    self._module[node.index] = readers[weight]
        self._path: list[str] = []
        self._pass(dissection.call.tensors(dissection.call.leaves))

    def obstacle(self, target: Target) -> str:
        """Why a target's lesions cannot be measured exactly; "" if they can."""
        found = edges(self.dissection, target)
        if not found:
            return "nothing reads its channels"
        calls = list(self._module.values())
        for edge in found:
            name = self._module.get(edge.node)
            once = calls.count(name) == 1 and self._path.count(name) == 1 if name else False
            if edge.role != "read" or not once:
                where = self.dissection.graph.nodes[edge.node].name
                return (
                    f"the network cannot be traced ({self.dissection.anatomy.whole}), and hooks "
                    f"cannot cut its channels at {name or where}"
                )
        return ""

    def run(
        self, tensors: Sequence[Tensor], dropped: Mapping[Lesion, np.ndarray]
    ) -> Iterator[tuple[Lesion | None, Tensor]]:
        """The logits of each lesion, then under None those of the intact network.

        Raises SubjectError where a pass runs other layers than on the first images, for then it is
        not known where the channels go.
        """
        for lesion, gone in dropped.items():
            found = edges(self.dissection, Target(lesion.target, lesion.kind))
            with self._cut(found, gone):
                logits = self._pass(tensors)
            yield lesion, logits
        yield None, self._pass(tensors)

    def _pass(self, tensors: Sequence[Tensor]) -> Tensor:
        path: list[str] = []
        with ExitStack() as stack:
            for name, module in self.dissection.call.network.named_modules():
                if any(True for _ in module.parameters(recurse=False)):
                    stack.enter_context(module.register_forward_pre_hook(_noting(path, name)))
            logits: Tensor = self.dissection.call(*tensors)
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
        network = self.dissection.call.network
        with ExitStack() as stack:
            for edge in found:
                keep = torch.from_numpy(keeps(edge.labels.numpy(), gone))
                module = network.get_submodule(self._module[edge.node])
                stack.enter_context(module.register_forward_pre_hook(_masking(keep)))
            yield


def _noting(path: list[str], name: str):  # type: ignore[no-untyped-def]
    def hook(*_: object) -> None:
        path.append(name)

    return hook


def _masking(keep: Tensor):  # type: ignore[no-untyped-def]
    def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x, *rest = inputs
        return (x * keep.to(x), *rest)

    return hook
