"""What a Python caller gives, taken for what it plainly means.

Each function gives the value as the rest of the package takes it, or raises ValueError, with a
text where more can be said than what was expected.
"""

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from numbers import Integral, Real
from typing import Any

import numpy as np

from lesion.boundary.texts import listed, several

Take = Callable[[Any], Any]


def number(value: Any) -> float:
    """A real number, also of numpy or in a tensor of none or one; of few digits as it reads.

    >>> number(np.float32(0.3)), number(1)
    (0.3, 1.0)
    """
    value = _plain(value)
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise ValueError
    return float(str(value)) if isinstance(value, np.floating) else float(value)


def integer(value: Any) -> int:
    """A whole number, also of numpy, or as 8.0."""
    value = _plain(value)
    if isinstance(value, Integral) and not isinstance(value, (bool, np.bool_)):
        return int(value)
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return int(value)
    raise ValueError


def from_(least: int, most: float = float("inf")) -> Take:
    """Whole numbers from one to another."""

    def take(value: Any) -> int:
        if not least <= integer(value) <= most:
            raise ValueError
        return integer(value)

    return take


def flag(value: Any) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError
    return bool(value)


def numbers(value: Any) -> tuple[float, ...]:
    """One number or several, in any array, table column, set or generator."""
    try:
        return (number(value),)
    except ValueError:
        return tuple(map(number, _several(value)))


def text(value: Any) -> str:
    """A text, also as the value of an Enum."""
    value = value.value if isinstance(value, Enum) else value
    if not isinstance(value, str):
        raise ValueError
    return str(value)


def patterns(value: Any) -> tuple[str, ...]:
    """One text or several; of one text the parts between commas, as on the command line."""
    return listed(value) if isinstance(value, str) else tuple(map(text, _several(value)))


def path(value: Any) -> str | os.PathLike[str]:
    """The name of a file."""
    if not isinstance(value, (str, os.PathLike)) or "\0" in os.fspath(value) or value == "":
        raise ValueError
    return value


def paths(value: Any) -> tuple[str | os.PathLike[str], ...]:
    """The names of files, or one name."""
    if isinstance(value, (str, os.PathLike)):
        return (path(value),)
    return tuple(map(path, _several(value)))


def amount(value: Any) -> str:
    """An amount of memory as text, also a number of bytes."""
    if value == "":
        raise ValueError
    return value if isinstance(value, str) else str(integer(value))


def device(value: Any) -> str:
    """The name of a device, also torch's own."""
    return value if isinstance(value, str) else str(instance("torch", "device")(value))


def named(value: Any) -> Any:
    """A text, or a function."""
    return value if callable(value) and not isinstance(value, type) else text(value)


def criterion(value: Any) -> Any:
    """A text, a function, or an object that scores filters."""
    return value if hasattr(value, "scores") else named(value)


def criteria(value: Any) -> tuple[Any, ...]:
    """One criterion or several; of one text the names between commas."""
    if isinstance(value, str):
        return several(value)
    try:
        return (criterion(value),)
    except ValueError:
        return tuple(map(criterion, _several(value)))


def damage(value: Any) -> Any:
    """A text, or an object that edits networks."""
    return value if hasattr(value, "edit") else text(value)


def runner(value: Any) -> Any:
    """A text, or an object that runs tasks."""
    return value if hasattr(value, "run") else text(value)


def called(value: Any) -> Any:
    """A function."""
    if not callable(value):
        raise ValueError
    return value


def progress(value: Any) -> Any:
    """Whether there is a bar, or a function; None is none."""
    return False if value is None else value if callable(value) else flag(value)


def log(value: Any) -> Any:
    """A text, or an object that is told numbers."""
    return value if hasattr(value, "numbers") else text(value)


def logs(value: Any) -> tuple[Any, ...]:
    """One log or several; None for none."""
    try:
        return (log(value),)
    except ValueError:
        return () if value is None else tuple(map(log, _several(value)))


def remaining(value: Any) -> float | str:
    """A share that may remain, as a number, or a text as on the command line."""
    return text(value) if isinstance(value, str) else number(value)


def rates(value: Any) -> dict[str, float]:
    """A number for each name, in a mapping or a table column with names."""
    if not isinstance(value, Mapping) and not hasattr(value, "to_dict"):
        raise ValueError
    named_rates = value if isinstance(value, Mapping) else value.to_dict()
    return {text(name): number(rate) for name, rate in named_rates.items()}


def names(value: Any) -> dict[int, str]:
    """A text for each whole number, in a mapping, or in a sequence by place."""
    if isinstance(value, (str, bytes)):
        raise ValueError
    pairs = value.items() if isinstance(value, Mapping) else enumerate(_several(value))
    return {integer(label): text(name) for label, name in pairs}


def arrays(value: Any) -> dict[str, np.ndarray]:
    """An array of numbers for each name."""
    if not isinstance(value, Mapping):
        raise ValueError
    return {text(name): np.asarray(_array(array), float) for name, array in value.items()}


def adapter(value: Any) -> Any:
    """What stands between batches and the network."""
    if not all(callable(getattr(value, name, None)) for name in ("forward", "targets")):
        raise ValueError
    return instance_no("torch.nn", "Module")(value)


def images(value: Any) -> Any:
    """A Dataset or DataLoader, or a sequence of items; names and networks are none."""
    if isinstance(value, (str, bytes, os.PathLike)) or value is None:
        raise ValueError("open what a name stands for with lesion.zoo.open_data")
    if getattr(value, "ndim", None) == 0:
        raise ValueError
    return instance_no("torch.nn", "Module")(value)


def batch(value: Any) -> Any:
    """A batch with a tensor in it; arrays become tensors, of the digits networks compute with."""
    trees = sys.modules["torch"].utils._pytree
    value = trees.tree_map(_tensor, value)
    tensors = [leaf for leaf in trees.tree_leaves(value) if hasattr(leaf, "detach")]
    if any(tensor.ndim and len(tensor) for tensor in tensors):
        return instance_no("torch.nn", "Module")(value)
    if isinstance(value, (tuple, list)) and value and all(isinstance(size, int) for size in value):
        raise ValueError(f"a shape is none: give torch.zeros({', '.join(map(str, value))})")
    if isinstance(value, sys.modules["torch"].utils.data.Dataset):
        raise ValueError("of a data set next(iter(torch.utils.data.DataLoader(data, 2))) is one")
    raise ValueError("such as torch.zeros(2, 3, 224, 224)")


def labels(value: Any) -> np.ndarray:
    """A boolean for each label."""
    made = np.asarray(_array(value))
    if made.dtype != bool or made.ndim != 1:
        raise ValueError
    return made


def instance(module: str, name: str) -> Take:
    """What is of a class; what has not been imported, no value can be of."""

    def take(value: Any) -> Any:
        kind = getattr(sys.modules.get(module), name, None)
        if kind is None or not isinstance(value, kind):
            raise ValueError
        return value

    return take


def instance_no(module: str, name: str) -> Take:
    """What is not of a class."""

    def take(value: Any) -> Any:
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and isinstance(value, kind):
            raise ValueError
        return value

    return take


def either(*takes: Take) -> Take:
    """What one of several takes."""

    def take(value: Any) -> Any:
        for attempt in takes:
            try:
                return attempt(value)
            except ValueError:
                continue
        raise ValueError

    return take


def _several(value: Any) -> Iterable[Any]:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise ValueError
    return _array(value) if hasattr(value, "detach") else value


def _array(value: Any) -> Any:
    """A tensor as an array, anything else as it is."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def _plain(value: Any) -> Any:
    """A number out of an array or tensor without axes."""
    value = _array(value)
    return value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value


def _tensor(leaf: Any) -> Any:
    """An array of numbers as a tensor, anything else as it is."""
    if not isinstance(leaf, np.ndarray) or leaf.dtype.kind not in "biuf":
        return leaf
    return sys.modules["torch"].from_numpy(leaf.astype("f4") if leaf.dtype.kind == "f" else leaf)
