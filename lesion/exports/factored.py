"""Layers of low rank as the smaller layers that they are made of, one behind the other."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from lesion.compression import factors
from lesion.compression.channel_pca import Projection
from lesion.network.torch_layers import CONVOLUTIONS

PLAIN = (*CONVOLUTIONS, nn.Linear)


def can_be_factored(module: nn.Module) -> bool:
    """Whether other layers can stand in a module's place: one of torch's own, padded with zeros."""
    if type(module) not in PLAIN:
        return False
    return isinstance(module, nn.Linear) or (
        getattr(module, "padding_mode", "") == "zeros"
        and not isinstance(getattr(module, "padding", ""), str)
    )


@torch.no_grad()
def factored(
    module: nn.Module, weight: Tensor, form: str, ranks: Sequence[int], seed: int = 0
) -> nn.Sequential:
    """The layers that give what a module gives whose weight is of low rank.

    module: a convolution or linear layer, see `can_be_factored`; its strides, paddings, bias and
        mode are theirs
    weight: the one that is factored; form, ranks, seed: see `lesion.compression.factors.of_rank`

    >>> conv = nn.Conv2d(8, 16, 3, stride=2, padding=1)
    >>> small = factored(conv, conv.weight, "spatial", [4])
    >>> [tuple(layer.weight.shape) for layer in small]
    [(4, 8, 3, 1), (16, 4, 1, 3)]
    """
    return _behind_each_other(module, weight, _layers(module, weight, form, ranks, seed))


@torch.no_grad()
def in_series(module: nn.Module, projection: Projection, weight: Tensor) -> nn.Sequential:
    """The same of a weight that is projected; the bias is the module's, projected already."""
    return _behind_each_other(module, weight, _pair(module, projection.factors(weight)))


def _behind_each_other(
    module: nn.Module, weight: Tensor, made: Iterable[nn.Module]
) -> nn.Sequential:
    layers, bias = list(made), cast(Any, module.bias)
    if bias is not None:
        layers[-1].bias = nn.Parameter(bias.detach().clone(), bias.requires_grad)
    series = nn.Sequential(*layers).to(weight)
    return series.requires_grad_(weight.requires_grad).train(module.training)


def _pair(module: nn.Module, pair: tuple[Tensor, Tensor]) -> Iterator[nn.Module]:
    """A layer with the whole kernel, and one of 1×1."""
    first, second = pair
    if isinstance(module, nn.Linear):
        yield _linear(first)
        yield _linear(second)
        return
    yield _conv(module, first, (module.stride, module.padding, module.dilation))
    yield _conv(module, _wide(second, first.dim() - 2))


def _layers(
    module: nn.Module, weight: Tensor, form: str, ranks: Sequence[int], seed: int
) -> Iterator[nn.Module]:
    if form == "svd":
        yield from _pair(module, factors.svd(weight, *ranks))
        return
    size = weight.dim() - 2
    settings: Any = module.stride, module.padding, module.dilation
    vertical, horizontal = _along(settings, 0), _along(settings, 1)
    if form == "spatial":
        first, second = factors.spatial(weight, *ranks)
        yield _conv(module, first, vertical)
        yield _conv(module, second, horizontal)
    elif form == "tucker2":
        inputs, core, filters = factors.tucker2(weight, *ranks)
        yield _conv(module, _wide(inputs, size))
        yield _conv(module, core, settings)
        yield _conv(module, _wide(filters, size))
    else:
        inputs, rows, columns, filters = factors.cp(weight, ranks[0], seed)
        yield _conv(module, _wide(inputs, size))
        yield _conv(module, rows[:, None, :, None], vertical, ranks[0])
        yield _conv(module, columns[:, None, None, :], horizontal, ranks[0])
        yield _conv(module, _wide(filters, size))


def _wide(matrix: Tensor, dimensions: int) -> Tensor:
    """A kernel of one position."""
    return matrix.reshape(*matrix.shape, *[1] * dimensions)


def _along(settings: Any, axis: int) -> Any:
    """Stride, padding and dilation along one axis of two, and none along the other."""
    return tuple(
        tuple(value if at == axis else idle for at, value in enumerate(values))
        for values, idle in zip(settings, (1, 0, 1), strict=True)
    )


def _linear(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], len(weight), bias=False)
    layer.weight = nn.Parameter(weight)
    return layer


def _conv(module: nn.Module, weight: Tensor, settings: Any = (1, 0, 1), groups: int = 1) -> Any:
    """A convolution of the module's kind; settings: its stride, padding and dilation."""
    kind: Any = type(module)
    channels, kernel = weight.shape[1] * groups, tuple(weight.shape[2:])
    layer = kind(channels, len(weight), kernel, *settings, groups, bias=False)
    layer.weight = nn.Parameter(weight.contiguous())
    return layer
