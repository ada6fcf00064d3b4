"""Criteria: which filters go first.  One module each, with one function `score`; low goes first.

A module in this folder is a criterion under its own name; nothing else has to be told.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

from torch import Tensor

from lesion.errors import LesionError


@dataclass(frozen=True, eq=False)
class Filters:
    """A layer's filters as a criterion sees them.

    weight: (filters, …), whatever axis they lie on in the layer; scale: the γ of the batch norm
    that follows the layer, or None; seed: for criteria that draw
    """

    layer: str
    weight: Tensor
    scale: Tensor | None
    seed: int


def names() -> list[str]:
    """The criteria there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def criterion(name: str) -> Callable[[Filters], Tensor]:
    """The score function of a criterion: Filters in, one float64 number a filter out."""
    if name not in names():
        close = get_close_matches(name, names(), 1)
        hint = f"did you mean {close[0]}?" if close else "choose one of them."
        raise LesionError(f"Expected a criterion ({', '.join(names())}), got '{name}'; {hint}")
    score: Callable[[Filters], Tensor] = importlib.import_module(f"{__name__}.{name}").score
    return score
