"""Channels that are masked while their network is trained, so that all of its weights learn."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from lesion.errors import LesionError
from lesion.lesions.edits import Channels, Edit
from lesion.lesions.readers import Readers, tensor_of
from lesion.network.anatomy import Anatomy, Layer, keeps

LAYERS = {
    F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d,
    F.linear,
}  # fmt: skip
ARGUMENTS = ("input", "weight", "bias")


class Masks(TorchFunctionMode):
    """Within it a network runs without the channels that are masked.

    A layer that reads a masked channel takes zeros for its columns, as where channels are cut for
    good.  Going back, these columns and the filters that make the channel have the gradients that
    they would have if it alone came back (straight through the mask, as in Guo et al. 2016,
    equation 3), so that it keeps learning.  What stays has the gradients that it has in the smaller
    network: through the filters of a masked channel none goes on to the layers before.

    dropped: (labels,) booleans, what is masked
    """

    def __init__(
        self, anatomy: Anatomy, readers: Readers, network: nn.Module, edit: Channels
    ) -> None:
        super().__init__()
        self._readers, self._network, self._edges = readers, network, edit.edges
        self._makers = makers(anatomy, edit.dropped)
        self._makes = {layer.name: anatomy.made_by(layer.name) for layer in self._makers}
        self._columns: dict[int, Tensor] = {}
        self._filters: dict[int, Tensor] = {}
        self._unread: set[int] = set()
        self.set(edit.dropped)

    def set(self, dropped: np.ndarray) -> None:
        """Masks these labels and no others."""
        self.dropped = dropped
        self._columns = self._gone(self._readers.columns(self._edges, dropped, self._network))
        gone = {layer.weight: self._rows(layer) for layer in self._makers}
        self._filters = self._gone(gone)

    def _gone(self, entries: Mapping[str, Tensor]) -> dict[int, Tensor]:
        """By a weight's id which of its entries are gone, of the weights that lose any."""
        weights = {name: tensor_of(self._network, name) for name in entries}
        return {id(w): entries[n].to(w.device) for n, w in weights.items() if entries[n].any()}

    def _rows(self, layer: Layer) -> Tensor:
        """The filters of what is masked, in a shape that fits the layer's weight."""
        gone = torch.from_numpy(~keeps(self._makes[layer.name], self.dropped))
        weight = tensor_of(self._network, layer.weight)
        ones = [1] * (weight.dim() - 2)
        if not layer.kind.startswith("transposed"):
            return gone.reshape(-1, 1, *ones)
        by_group = gone.reshape(layer.groups, -1)
        return by_group.repeat_interleave(len(weight) // layer.groups, 0).reshape(
            len(weight), -1, *ones
        )

    def __enter__(self) -> "Masks":
        self._unread = {*self._columns, *self._filters}
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, kind: Any, *error: Any) -> None:
        """Raises LesionError where a masked weight was read by nothing that could be masked."""
        super().__exit__(kind, *error)  # type: ignore[no-untyped-call]
        if self._unread and kind is None:
            names = {id(value): name for name, value in self._network.named_parameters()}
            raise LesionError(
                "Expected a network whose masked weights are read by torch's convolutions and "
                f"linear layers, but {names[min(self._unread, key=names.__getitem__)]} is not; "
                "recover without masks."
            )

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """A layer of the network without what is masked, any other function as it is."""
        options = dict(kwargs or {})
        given = dict(zip(ARGUMENTS, args, strict=False)) | options
        weight = id(given.get("weight"))
        columns, filters = self._columns.get(weight), self._filters.get(weight)
        if func not in LAYERS or (columns is None and filters is None):
            return func(*args, **options)
        self._unread.discard(weight)
        for name in ARGUMENTS:
            options.pop(name, None)

        def layer(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            made: Tensor = func(x, weight, bias, *args[3:], **options)
            return made

        x, weight, bias = given["input"], given["weight"], given.get("bias")
        learns = layer(x.detach(), weight, bias)
        passes = layer(x, _without(weight, filters).detach(), None)
        with torch.no_grad():
            value = layer(x, _without(weight, columns), bias)
        return _Instead.apply(value, learns, passes)


class _Instead(torch.autograd.Function):
    """A value, with the gradients of what is added up behind it."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, *others: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, gradient, gradient


def makers(anatomy: Anatomy, dropped: np.ndarray) -> list[Layer]:
    """The layers whose filters make the channels of the units that lose any.

    A depthwise layer is none: its channels are those that it reads.
    """
    hit = {unit.name for unit in anatomy.units if dropped[unit.labels].any()}
    names = {name for unit in anatomy.units if unit.name in hit for name in unit.layers}
    return [layer for layer in anatomy.layers if layer.name in names and not layer.depthwise]


def unmaskable(edit: Edit, anatomy: Anatomy, readers: Readers) -> str:
    """Why an edit's channels cannot be masked, and others in their place; "" if they can."""
    if not isinstance(edit, Channels):
        return "masks are of channels, and this removes none"
    beyond = (layer for layer in makers(anatomy, edit.dropped) if not readers.holds(layer.weight))
    names = [layer.name for layer in beyond]
    return f"the filters of {names[0]} are no parameter that masks could follow" if names else ""


def _without(weight: Tensor, gone: Tensor | None) -> Tensor:
    return weight if gone is None else weight.masked_fill(gone, 0)
