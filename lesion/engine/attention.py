"""Attention transfer: where a network looks at the ends of its stages (Zagoruyko & Komodakis 2017).

A map of attention adds up over channels, so that networks of different width compare.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lesion.errors import LesionError
from lesion.network.anatomy import Anatomy, Layer, keeps

Seen = Mapping[str, Tensor]


def attention(values: Tensor) -> Tensor:
    """Σ_c a² at each position of (images, channels, …), flat and of length 1 in the l2 norm.

    >>> attention(torch.tensor([[[[1.0, 0.0], [0, 0]], [[0, 2], [0, 0]]]])).round(decimals=4)
    tensor([[0.2425, 0.9701, 0.0000, 0.0000]])
    """
    return F.normalize(values.square().sum(1).flatten(1), dim=1)


def stage_ends(anatomy: Anatomy) -> list[Layer]:
    """The last layer of each stage, shortcuts apart. Raises LesionError where there is no stage."""
    ends = {
        layer.stage: layer
        for layer in anatomy.layers
        if layer.number is not None and "last of stage" in layer.position
    }
    if not ends:
        raise LesionError(
            "Expected a network with stages for attention, which is compared at their ends, got "
            "one without; leave out attention=…."
        )
    return [*ends.values()]


@contextmanager
def noting(network: nn.Module, ends: Sequence[Layer]) -> Iterator[Seen]:
    """By name what the blocks and layers at the ends of stages give in a pass."""
    seen: dict[str, Tensor] = {}
    modules = dict(network.named_modules())
    with ExitStack() as stack:
        for name in {name for layer in ends for name in _names(layer)} & modules.keys():
            hook = modules[name].register_forward_hook(_noted(seen, name))
            stack.callback(hook.remove)
        yield seen


def distance(
    anatomy: Anatomy, ends: Sequence[Layer], seen: Seen, dropped: np.ndarray, teacher: Seen
) -> Tensor:
    """Σ over the ends of stages ‖Q − Q_t‖², mean over the images; Q, Q_t: the maps of attention.

    dropped: labels that are gone, whose channels count for nothing
    """
    total = torch.zeros(())
    for layer in ends:
        labels = anatomy.made_by(layer.name)
        names = (name for name in _names(layer) if _has(seen.get(name), len(labels)))
        if (name := next(names, None)) is None:
            raise LesionError(
                f"Expected {layer.name}, the end of a stage, to give its channels on the axis "
                "behind the images for attention, but it does not; leave out attention=…."
            )
        keep = torch.from_numpy(keeps(labels, dropped)).to(seen[name].device)
        apart = attention(seen[name][:, keep]) - attention(teacher[name])
        total = total.to(apart) + apart.square().sum(1).mean()
    return total


def _names(layer: Layer) -> list[str]:
    """The module of the block that a layer ends, where it has one, and its own."""
    own = layer.weight.rpartition(".")[0]
    return [name for name in (layer.block, own) if name]


def _has(value: Tensor | None, channels: int) -> bool:
    return isinstance(value, Tensor) and value.dim() > 2 and value.shape[1] == channels


def _noted(seen: dict[str, Tensor], name: str) -> Callable[..., None]:
    def hook(module: nn.Module, given: object, made: Tensor) -> None:
        seen[name] = made

    return hook
