"""Statistics over channels of those that stay: the operation itself, run on these alone."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def among(op: Callable[..., Any], keep: Tensor, keeps_axis: bool) -> Callable[..., Any]:
    """The operation on the channels in `keep`, whose size is 1 along all axes but theirs.

    keeps_axis: whether its result has the channels still (a softmax); the others are zero there
    Where none stays, it has no value (NaN).
    """
    axis = max(range(keep.dim()), key=lambda axis: keep.shape[axis])
    places = keep.reshape(-1).nonzero().reshape(-1)

    def run(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not len(places):
            return op(torch.full_like(x, torch.nan), *args, **kwargs)
        there = places.to(x.device)
        small = op(x.index_select(axis, there), *args, **kwargs)
        if not keeps_axis:
            return small
        return torch.zeros_like(x, dtype=small.dtype).index_copy(axis, there, small)

    return run
