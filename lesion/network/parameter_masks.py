"""What stays of each parameter when channels fall, as masks that fit its shape."""

import numpy as np

from lesion.network.anatomy import Anatomy, Layer, Parameter, keeps


def masks(anatomy: Anatomy, dropped: np.ndarray) -> dict[str, np.ndarray]:
    """For each parameter and buffer that loses something, where it stays.

    dropped: the labels that fall, as booleans over all labels
    A mask has as many axes as its parameter, of size 1 along those that do not follow channels.  A
    layer's weight loses the filters that fall and, in those that stay, what they read of channels
    that fall; all else that goes by channels loses the entries of those that fall.
    """
    layers = {layer.weight: layer for layer in anatomy.layers}
    by_parameter = {}
    for parameter in anatomy.parameters:
        layer = layers.get(parameter.name)
        mask = _along(parameter, dropped) if layer is None else _weight(anatomy, layer, dropped)
        if not mask.all():
            by_parameter[parameter.name] = mask.reshape(
                *mask.shape, *[1] * (len(parameter.shape) - mask.ndim)
            )
    return by_parameter


def lengths(stay: np.ndarray) -> list[int]:
    """How long each axis of a tensor is without what does not stay.

    Rows of a matrix of channels lose equally many each, though not the same.

    >>> lengths(np.array([[True, False], [False, True]]))
    [2, 1]
    """
    last = max((axis for axis, size in enumerate(stay.shape) if size > 1), default=0)
    return [
        int(stay.sum(axis).max())
        if axis == last
        else int(np.moveaxis(stay, axis, 0).reshape(size, -1).any(1).sum())
        for axis, size in enumerate(stay.shape)
    ]


def _weight(anatomy: Anatomy, layer: Layer, dropped: np.ndarray) -> np.ndarray:
    """Along the first two axes of a layer's weight: a filter of a group reads that group alone."""
    made = keeps(anatomy.made_by(layer.name), dropped).reshape(layer.groups, -1)
    read = keeps(layer.reads, dropped).reshape(layer.groups, -1)
    first, second = (read, made) if layer.kind.startswith("transposed") else (made, read)
    both: np.ndarray = first[:, :, None] & second[:, None, :]
    return both.reshape(-1, second.shape[1])


def _along(parameter: Parameter, dropped: np.ndarray) -> np.ndarray:
    """Along the axes that follow channels."""
    rank = len(parameter.shape)
    mask = np.ones([1] * rank, bool)
    for axis, labels in parameter.axes.items():
        along = [-1 if at == axis else 1 for at in range(rank)]
        mask = mask & keeps(labels, dropped).reshape(along)
    return mask
