"""How many channels fall at a pruning ratio, and which."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

import numpy as np

from lesion.errors import LesionError
from lesion.lesions.lesion import Lesion, Target
from lesion.network.anatomy import Anatomy

ROUNDINGS = ("floor-kept", "nearest")


def kept(channels: int, ratio: float, rounding: str = "floor-kept") -> int:
    """How many of `channels` stay at a pruning ratio, at least one.

    "floor-kept" is floor(channels · (1 − ratio)), as in Li et al. 2017; "nearest" rounds the
    pruned count to the nearest whole number, halves to even.

    >>> kept(10, 0.9), kept(16, 0.3), kept(16, 0.3, "nearest"), kept(2, 0.9)
    (1, 11, 11, 1)
    """
    if rounding == "nearest":
        return max(1, channels - round(channels * ratio))
    return max(1, int(channels * (1 - ratio) + 1e-9))  # 10 · (1 − 0.9) is 0.999…98


def matching(anatomy: Anatomy, patterns: Sequence[str]) -> set[str]:
    """The layers that patterns name, all for none. Raises LesionError for one that matches none."""
    names = [layer.name for layer in anatomy.layers]
    found = {name for name in names if not patterns}
    for pattern in patterns:
        matched = {name for name in names if fnmatchcase(name, pattern)}
        if not matched:
            close = get_close_matches(pattern, names, 1)
            hint = f"did you mean {close[0]}?" if close else "lesion layers lists them."
            raise LesionError(f"Expected the pattern of a layer, got '{pattern}'; {hint}")
        found |= matched
    return found


def check_rounding(rounding: str) -> None:
    """Raises LesionError unless the rounding is known."""
    if rounding not in ROUNDINGS:
        raise LesionError(f"Expected rounding {' or '.join(ROUNDINGS)}, got '{rounding}'.")


def falling(
    anatomy: Anatomy, target: Target, scores: np.ndarray, ratio: float, rounding: str
) -> np.ndarray:
    """Which of a target's channels (of a branch's filters) fall, as booleans.

    The lowest scores go first, equal ones in order; every cell loses equally many; and every layer
    keeps the best of its filters, so that none is left without.
    """
    fallen = np.zeros(len(scores), bool)
    for cell in _cells(anatomy, target, len(scores)):
        order = cell[np.argsort(scores[cell], kind="stable")]
        fallen[order[: len(cell) - kept(len(cell), ratio, rounding)]] = True
    for own in _members(anatomy, target):
        if fallen[own].all():
            fallen[own[np.argmax(scores[own])]] = False
    return fallen


def dropped(anatomy: Anatomy, lesion: Lesion, scores: np.ndarray) -> np.ndarray:
    """The labels that fall in a lesion, as a boolean array over all labels."""
    target = lesion.at
    fallen = falling(anatomy, target, scores, lesion.amount, lesion.rounding)
    labels = np.zeros(anatomy.channels, bool)
    labels[np.array(labels_of(anatomy, target))[fallen]] = True
    return labels


def labels_of(anatomy: Anatomy, target: Target) -> Sequence[int]:
    """The labels of a unit's channels, or of a layer's filters, in the order of their scores."""
    if target.kind in ("branch", "layer"):
        return anatomy.made_by(target.name)
    return anatomy.unit[target.name].labels


def _cells(anatomy: Anatomy, target: Target, channels: int) -> Iterator[np.ndarray]:
    if target.kind == "branch":
        groups = anatomy.layer[target.name].groups
        yield from np.arange(channels).reshape(groups if channels > groups else 1, -1)
        return
    unit = anatomy.unit[target.name]
    for cell in unit.cells:
        yield np.array(cell) - unit.first


def _members(anatomy: Anatomy, target: Target) -> Iterator[np.ndarray]:
    """For each layer that makes some of a unit's channels, which ones."""
    if target.kind == "branch":
        return
    unit = anatomy.unit[target.name]
    for name in unit.layers:
        labels = np.array(anatomy.made_by(name)) - unit.first
        inside = labels[(labels >= 0) & (labels < unit.channels)]
        if not anatomy.layer[name].depthwise:
            yield np.unique(inside)
