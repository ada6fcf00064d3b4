"""What is right for each image of a batch: class numbers, or the targets of a user's own score."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lesion.errors import SubjectError
from lesion.subject.batch import describe

BY_SIGN = (
    "judge one logit by its sign, with the score agreement or tv, or give an adapter that puts a 0 "
    "before it, so that there are two"
)


def class_numbers(targets: Any) -> Tensor:
    """Labels as int64 of shape (N,); a column (N, 1) is taken as (N,).

    Raises SubjectError for anything but whole numbers, one an image.

    >>> class_numbers(torch.tensor([[3], [1]], dtype=torch.uint8))
    tensor([3, 1])
    """
    try:
        labels = torch.as_tensor(targets)
    except (TypeError, ValueError, RuntimeError):
        labels = None
    if labels is not None and labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels is None or labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
        raise SubjectError(
            "Expected labels that are class numbers (integers, one an image), "
            f"got {describe(targets)}; convert the data, give an adapter, or judge them by a score "
            "of your own (--score FILE.py:FUNCTION)."
        )
    return labels.long()


def check_labels(labels: Tensor, classes: int) -> None:
    """Raises SubjectError unless every label is one of the network's outputs, 0 … classes - 1."""
    outside = labels[(labels < 0) | (labels >= classes)]
    if len(outside):
        hint = "give the data that the network was trained for" if classes > 1 else BY_SIGN
        raise SubjectError(
            f"Expected labels from 0 to {classes - 1}, because the network has {classes} outputs, "
            f"got {int(outside[0])}; {hint}."
        )


def rows_of(targets: Any, rows: Any, images: int) -> Any:
    """Some of the images' targets: the rows of every tensor in them, the entries of a list.

    >>> rows_of({"mask": torch.arange(3)}, [0, 2], 3), rows_of(["a", "b", "c"], [0, 2], 3)
    ({'mask': tensor([0, 2])}, ['a', 'c'])
    """
    if isinstance(targets, Mapping):
        return {name: rows_of(value, rows, images) for name, value in targets.items()}
    if isinstance(targets, (tuple, list)):
        if len(targets) == images and not all(_by_image(value, images) for value in targets):
            return [targets[row] for row in rows]
        return [rows_of(value, rows, images) for value in targets]
    return targets[rows] if _by_image(targets, images) else targets


def _by_image(value: Any, images: int) -> bool:
    return isinstance(value, Tensor) and value.shape[:1] == (images,)
