"""Batch norm folded into the convolution in front of it."""

from collections.abc import Collection, Sequence
from typing import Any

from torch import Tensor

from lesion.network.graph import Graph, Ref

FOLDABLE = {"conv1d", "conv2d", "conv3d"}


def foldable(graph: Graph, operations: Collection[str] = FOLDABLE) -> dict[int, int]:
    """Operations, convolutions, whose only reader is a batch norm, and that batch norm."""
    users, norms = graph.users(), dict[int, int]()
    for node in graph.nodes:
        readers = users[node.index]
        if node.operation in operations and len(readers) == 1 and node.index != graph.output:
            reader = graph.nodes[readers[0]]
            args = (*node.args[1:3], *reader.args[1:5])
            given = [graph.nodes[ref.index] for ref in args if isinstance(ref, Ref)]
            if reader.operation == "batch_norm" and all(p.kind == "parameter" for p in given):
                norms[node.index] = reader.index
    return norms


def norm_scale(norm: Sequence[Any]) -> Tensor:
    """By what a batch norm of these arguments multiplies each channel, γ / √(variance + ε)."""
    _, gamma, _, _, var, eps = norm[:6]
    scale: Tensor = (var.double() + eps).rsqrt()  # double: these numbers serve every image
    return scale if gamma is None else scale * gamma


def folded(conv: tuple[Any, ...], norm: tuple[Any, ...]) -> tuple[Any, ...]:
    """The convolution's arguments with the batch norm in weight and bias."""
    x, weight, bias, *rest = (*conv, None)[: max(len(conv), 3)]
    beta, mean, scale = norm[2], norm[3], norm_scale(norm)
    shift = (0.0 if bias is None else bias) - mean.double()
    shift = shift * scale + (0.0 if beta is None else beta)
    wide = scale.reshape(-1, *[1] * (weight.dim() - 1))
    return (x, (weight * wide).to(weight.dtype), shift.to(weight.dtype), *rest)


def bias_of(weight: str) -> str:
    """The name of the bias beside a weight in one of torch's layers.

    >>> bias_of("layer1.conv.weight"), bias_of("weight")
    ('layer1.conv.bias', 'bias')
    """
    return f"{weight.removesuffix('weight')}bias"
