"""Whether networks and programs give the same outputs."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

NEAR = 1e-4  # how near outputs are to what is wanted, of their size; in half precision less near


def difference(given: Sequence[Tensor], wanted: Sequence[Tensor]) -> str:
    """How outputs differ from those wanted, in words; "" where they are as near as rounding.

    >>> difference([torch.tensor([1.0, 2.2])], [torch.tensor([1.0, 2.0])])
    'its outputs differ by 0.1 of their size'
    """
    shapes = [[tuple(tensor.shape) for tensor in tensors] for tensors in (given, wanted)]
    if shapes[0] != shapes[1]:
        return f"it gives outputs of shapes {shapes[0]} instead of {shapes[1]}"
    apart = max(map(_apart, given, wanted), default=0.0)
    return f"its outputs differ by {apart:.1g} of their size" if apart else ""


def _apart(given: Tensor, wanted: Tensor) -> float:
    """The largest difference as a part of the size, 0 where it may be rounding."""
    if not wanted.is_floating_point() or not wanted.numel():
        return 0.0  # such as the places of what is largest, which ties may decide
    given = given.to(wanted.device)
    if not torch.equal(given.isfinite(), wanted.isfinite()):
        return math.inf
    near = max(NEAR, 100 * torch.finfo(wanted.dtype).eps)
    given, wanted = (values.double().nan_to_num(0.0, 0.0, 0.0) for values in (given, wanted))
    largest, size = float((given - wanted).abs().max()), float(wanted.abs().max())
    return 0.0 if largest <= near * size else largest / size if size else math.inf
