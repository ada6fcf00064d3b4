"""Filters removed: the channels they make are zero wherever an operation mixes channels.

A convolution or linear layer that reads the channels gets zeros for them, or zero weights, as is
cheaper; a normalisation or a statistic over channels is computed over those that stay, and
attention without a scale of its own divides by the root of their number; in a sum (of a branch, of
one channel and all others, or of products of channels) the channels contribute zero, also where
they come through a depthwise layer: its filters fall with them.  The result is that of the
physically smaller network.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lesion.lesions.channel_statistics import among
from lesion.network.anatomy import keeps
from lesion.network.labels import Edge
from lesion.network.program import Step
from lesion.network.rules.layers import CONVOLUTIONS, LINEAR, TRANSPOSED
from lesion.network.rules.products import ATTENTION
from lesion.network.rules.reductions import SOFTMAX


def without(step: Step, edge: Edge, dropped: np.ndarray) -> Step:
    """The step without the channels whose labels are in the boolean array `dropped`."""
    keep = torch.from_numpy(keeps(edge.labels.numpy(), dropped))
    if edge.role == "norm":
        if step.name == ATTENTION:
            return replace(step, op=_attention(step.op, keep))
        if step.name in _NORMS:
            return replace(step, op=_NORMS[step.name](keep))
        return replace(step, op=among(step.op, keep, step.name in SOFTMAX))
    if step.name in CONVOLUTIONS | TRANSPOSED | LINEAR and edge.role == "read":
        return replace(step, op=_reader(step, keep.reshape(-1)))
    return replace(step, op=_masked(step.op, edge.argument, keep))


def _masked(op: Callable[..., Any], argument: int, keep: Tensor) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        x = args[argument]
        return op(*args[:argument], x * keep.to(x), *args[argument + 1 :], **kwargs)

    return run


def _reader(step: Step, keep: Tensor) -> Callable[..., Any]:
    """The layer with zeros in place of the channels, in its weights or in what it reads."""
    wide = along_weight(step.name, step.args[1], keep)
    along = [1] * keep.dim()

    def run(x: Tensor, weight: Tensor, *rest: Any, **kwargs: Any) -> Any:
        if weight.numel() <= x.numel():
            weight = weight * wide.to(weight)
        else:
            shape = along if step.name in LINEAR else (1, -1, *[1] * (x.dim() - 2))
            x = x * (keep.to(x) if step.name in LINEAR else keep.to(x).reshape(shape))
        return step.op(x, weight, *rest, **kwargs)

    return run


def along_weight(name: str, weight: Tensor, keep: Tensor) -> Tensor:
    """`keep` of the input channels, in a shape that fits the weight of the operation `name`."""
    if name in TRANSPOSED | {"transposed_linear"}:
        return keep.reshape(-1, *[1] * (weight.dim() - 1))
    groups = len(keep) // weight.shape[1]
    by_group = keep.reshape(groups, -1).repeat_interleave(weight.shape[0] // groups, 0)
    return by_group.reshape(-1, weight.shape[1], *[1] * (weight.dim() - 2))


def _layer_norm(keep: Tensor) -> Callable[..., Tensor]:
    def run(
        x: Tensor, shape: list[int], weight: Tensor | None = None, bias: Tensor | None = None,
        eps: float = 1e-5, *_: Any,
    ) -> Tensor:  # fmt: skip
        axes = tuple(range(-len(shape), 0))
        out = _standardised(x, keep.to(x).expand(x.shape), axes, eps)
        out = out if weight is None else out * weight
        return out if bias is None else out + bias

    return run


def _group_norm(keep: Tensor) -> Callable[..., Tensor]:
    def run(
        x: Tensor, groups: int, weight: Tensor | None = None, bias: Tensor | None = None,
        eps: float = 1e-5, *_: Any,
    ) -> Tensor:  # fmt: skip
        parted = (len(x), groups, -1)
        kept = keep.to(x).expand(x.shape).reshape(parted)
        out = _standardised(x.reshape(parted), kept, (-1,), eps).reshape(x.shape)
        per_channel = (1, -1, *[1] * (x.dim() - 2))
        out = out if weight is None else out * weight.reshape(per_channel)
        return out if bias is None else out + bias.reshape(per_channel)

    return run


def _rms_norm(keep: Tensor) -> Callable[..., Tensor]:
    def run(
        x: Tensor, shape: list[int], weight: Tensor | None = None, eps: float | None = None
    ) -> Tensor:
        axes = tuple(range(-len(shape), 0))
        kept = keep.to(x).expand(x.shape)
        square = (x * x * kept).sum(axes, keepdim=True) / kept.sum(axes, keepdim=True)
        out = x * (square + (torch.finfo(x.dtype).eps if eps is None else eps)).rsqrt()
        return out if weight is None else out * weight

    return run


def _attention(op: Callable[..., Tensor], keep: Tensor) -> Callable[..., Tensor]:
    """Attention that divides by the root of the number of channels that stay, head by head."""

    def run(q: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        kept = keep.to(q).expand(*keep.shape[:-1], q.shape[-1])
        share = kept.mean(-1, keepdim=True).clamp_min(1 / q.shape[-1])
        return op(q * kept * share.rsqrt(), *args, **kwargs)

    return run


def _standardised(x: Tensor, kept: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    """x with mean 0 and variance 1 over the kept positions of `axes`."""
    count = kept.sum(axes, keepdim=True)
    centred = x - (x * kept).sum(axes, keepdim=True) / count
    variance = (centred * centred * kept).sum(axes, keepdim=True) / count
    return centred * (variance + eps).rsqrt()


_NORMS: dict[str, Callable[[Tensor], Callable[..., Tensor]]] = {
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "rms_norm": _rms_norm,
}
