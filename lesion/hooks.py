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
from lesion.plan import Lesion, Target


class Whole:
    """Measures by one whole forward pass a lesion."""

    def __init__(self, dissection: Dissection) -> None:
        self.dissection = dissection
        graph = dissection.graph
        self._module: dict[int, str] = {}
        readers = {layer.weight: layer.name for layer in dissection.anatomy.layers}
        for node in graph.nodes:
            if len(node.args) > 1 and hasattr(node.args[1], "index"):
                weight = graph.nodes[node.args[1].index].name
                if weight in readers:
                    self._module[node.index] = readers[weight]

    def obstacle(self, target: Target) -> str:
        """Why a target's lesions cannot be measured exactly; "" if they can."""
        found = edges(self.dissection, target)
        if not found:
            return "nothing reads its channels"
        calls = list(self._module.values())
        for edge in found:
            name = self._module.get(edge.node)
            if edge.role != "read" or name is None or calls.count(name) > 1:
                where = self.dissection.graph.nodes[edge.node].name
                return (
                    f"the network cannot be traced ({self.dissection.anatomy.whole}), and hooks "
                    f"cannot cut its channels at {name or where}"
                )
        return ""

    def run(
        self, tensors: Sequence[Tensor], dropped: Mapping[Lesion, np.ndarray]
    ) -> Iterator[tuple[Lesion | None, Tensor]]:
        """The logits of each lesion, then under None those of the intact network."""
        for lesion, gone in dropped.items():
            found = edges(self.dissection, Target(lesion.target, lesion.kind))
            with self._cut(found, gone):
                logits = self.dissection.call(*tensors)
            yield lesion, logits
        yield None, self.dissection.call(*tensors)

    @contextmanager
    def _cut(self, found: Sequence[Edge], gone: np.ndarray) -> Iterator[None]:
        network = self.dissection.call.network
        with ExitStack() as stack:
            for edge in found:
                keep = torch.from_numpy(keeps(edge.labels.numpy(), gone))
                module = network.get_submodule(self._module[edge.node])
                stack.enter_context(module.register_forward_pre_hook(_masking(keep)))
            yield


def _masking(keep: Tensor):  # type: ignore[no-untyped-def]
    def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x, *rest = inputs
        return (x * keep.to(x), *rest)

    return hook
