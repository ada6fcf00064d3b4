"""Edits by whole forward passes, for a network that no trace stands for.

What such a network does may depend on the images, so nothing is replayed: the network runs as it
is, with the weights that an edit puts in place of its own, and through its hooks.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from lesion.engine.base import Cut, Engine, Name
from lesion.errors import SubjectError
from lesion.lesions.edits import Edit
from lesion.lesions.readers import Readers
from lesion.network.dissection import Dissection
from lesion.network.graph import Call


class Whole(Engine):
    """Measures by one whole forward pass an edit."""

    def __init__(self, dissection: Dissection) -> None:
        self.dissection, self.call = dissection, dissection.call
        self._path: list[str] = []
        self.outputs(self.call.tensors(self.call.leaves))
        self.readers = Readers(dissection, self._path)

    def obstacle(self, edit: Edit) -> str:
        """Why an edit cannot be measured exactly; "" if it can."""
        where = edit.obstacle(self.readers)
        return where and (
            f"the network cannot be traced ({self.dissection.anatomy.whole}), and hooks "
            f"cannot cut its channels at {where}"
        )

    def edited(self, call: Call, edit: Edit) -> "Whole":
        """The same of a copy of the network, that of `call`, edited for good."""
        edited = copy.copy(self)
        edited.call = call
        edit.hold(self.readers, call.network)
        return edited

    def run(
        self,
        tensors: Sequence[Tensor],
        cuts: Mapping[Name, Cut],
        intact: bool = True,
        keys: np.ndarray | None = None,
    ) -> Iterator[tuple[Name | None, Tensor]]:
        """The outputs of each cut on its rows, and last under None the intact network's.

        Raises SubjectError where a pass runs other layers than on the first images, for then it is
        not known where the channels go.
        """
        for name, cut in cuts.items():
            yield name, self._edited(rows_of(tensors, cut.rows), cut.edit)
        if intact:
            yield None, self.outputs(tensors)

    def _edited(self, tensors: Sequence[Tensor], edit: Edit) -> Tensor:
        """What the network gives under an edit, which is off it again afterwards."""
        network = self.call.network
        with ExitStack() as stack:
            for handle in edit.hooks(network):
                stack.callback(handle.remove)
            return self.outputs(tensors, edit.weights(self.readers, network))

    def outputs(
        self, tensors: Sequence[Tensor], weights: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """What the network gives for a batch, in the mode that it is in, with other weights."""
        path: list[str] = []
        with ExitStack() as stack:
            for name, module in self.call.network.named_modules():
                if any(True for _ in module.parameters(recurse=False)):
                    stack.enter_context(module.register_forward_pre_hook(_noting(path, name)))
            logits = self._called([tensor.clone() for tensor in tensors], weights or {})
        self._path = self._path or path
        if path != self._path:
            raise SubjectError(
                "Expected a network that runs the same layers on all images, because it cannot be "
                f"traced, but it ran {len(path)} where it ran {len(self._path)} on the first "
                "images, or others: make its forward independent of the values."
            )
        return logits

    def _called(self, tensors: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
        if not weights:
            return self.call(*tensors)  # type: ignore[no-any-return]
        named = {f"network.{name}": weight for name, weight in weights.items()}
        return functional_call(self.call, named, tuple(tensors))  # type: ignore[no-any-return]


def rows_of(tensors: Sequence[Tensor], rows: np.ndarray | None) -> Sequence[Tensor]:
    """Some images of a batch's tensors; those without an image axis as they are."""
    if rows is None:
        return tensors
    images, places = len(tensors[0]), torch.from_numpy(rows).to(tensors[0].device)
    return [t[places] if t.dim() and len(t) == images else t for t in tensors]


def _noting(path: list[str], name: str) -> Callable[..., None]:
    def hook(*_: object) -> None:
        path.append(name)

    return hook
