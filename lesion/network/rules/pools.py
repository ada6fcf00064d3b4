"""Pooling and resizing: channels go through, unless they lie on the axis itself."""

from typing import Any

from torch import Tensor

from lesion.network.graph import Node
from lesion.network.rules.opaque import fixed, unknown
from lesion.network.walk import Rule, Walk

POOLS = {
    f"{kind}{d}d": d
    for kind in (
        "max_pool",
        "avg_pool",
        "adaptive_avg_pool",
        "adaptive_max_pool",
        "upsample_nearest",
        "_upsample_nearest_exact",
    )
    for d in (1, 2, 3)
} | {
    "upsample_linear1d": 1,
    "upsample_bilinear2d": 2,
    "upsample_bicubic2d": 2,
    "_upsample_bilinear2d_aa": 2,
    "_upsample_bicubic2d_aa": 2,
    "upsample_trilinear3d": 3,
}


def pool(walk: Walk, node: Node, value: Any) -> Any:
    """The labels of a value whose last axes, those of the image, are pooled or resized."""
    labels = walk.labels_of(node.args[0].index)
    image, rest = labels.shape[-POOLS[node.name] :], labels.shape[: -POOLS[node.name]]
    if any(size > 1 for size in image):
        if walk.out.active(labels) or not bool((labels >= 0).all()):
            return unknown(walk, node, value)
        # a parameter, such as a table of positions: its pixels of one channel fall together
        by_channel = walk.out.fresh((*rest, *[1] * len(image)), passive=True)
        walk.out.unite(labels, by_channel, "same")
        labels = by_channel
    return _with_places(value, labels)


def _with_places(value: Any, labels: Tensor) -> Any:
    """The labels of a maximum, and of the places where it lies if they are given too."""
    return labels if isinstance(value, Tensor) else [labels, fixed(value[1])]


RULES: dict[str, Rule] = dict.fromkeys(POOLS, pool)
