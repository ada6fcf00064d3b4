"""Pooling, resizing and reductions: channels go through, unless they lie on the axis itself."""

from typing import Any

from torch import Tensor

from lesion.rules.elementwise import pointwise
from lesion.rules.opaque import fixed, unknown
from lesion.tracing import Node, Ref
from lesion.walk import Rule, Walk

POOLS = {
    f"{kind}{d}d": d
    for kind in ("max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool",
                 "upsample_nearest", "_upsample_nearest_exact")
    for d in (1, 2, 3)
} | {"upsample_linear1d": 1, "upsample_bilinear2d": 2, "upsample_bicubic2d": 2,
     "upsample_trilinear3d": 3}  # fmt: skip
REDUCTIONS = {"mean", "sum", "amax", "amin", "max", "min", "var", "std", "prod", "logsumexp"}
ALONG = {"softmax", "log_softmax", "_softmax", "_log_softmax", "cumsum"}


def pool(walk: Walk, node: Node, value: Any) -> Any:
    """The labels of a value whose last axes, those of the image, are pooled or resized."""
    labels = walk.labels_of(node.args[0].index)
    if any(size > 1 for size in labels.shape[-POOLS[node.name] :]):
        return unknown(walk, node, value)
    return _with_places(value, labels)


def reduce(walk: Walk, node: Node, value: Any) -> Any:
    """The labels that are left when axes without channels are reduced."""
    labels = walk.labels_of(node.args[0].index)
    named = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    if isinstance(named, Ref):  # max(a, b): elementwise
        return pointwise(walk, node, value)
    axes = [named] if isinstance(named, int) else list(named or range(labels.dim()))
    if any(labels.shape[axis] > 1 for axis in axes):
        return unknown(walk, node, value)
    first = value if isinstance(value, Tensor) else value[0]
    if first.dim() < labels.dim():
        for axis in sorted((axis % labels.dim() for axis in axes), reverse=True):
            labels = labels.squeeze(axis)
    return _with_places(value, labels)


def _with_places(value: Any, labels: Tensor) -> Any:
    """The labels of a maximum, and of the places where it lies if they are given too."""
    return labels if isinstance(value, Tensor) else [labels, fixed(value[1])]


def along(walk: Walk, node: Node, value: Tensor) -> Any:
    """The labels of what is computed along an axis without channels, such as a softmax."""
    labels = walk.labels_of(node.args[0].index)
    if labels.shape[int(node.args[1])] > 1:
        return unknown(walk, node, value)
    return labels


RULES: dict[str, Rule] = {
    **dict.fromkeys(POOLS, pool),
    **dict.fromkeys(REDUCTIONS, reduce),
    **dict.fromkeys(ALONG, along),
}
