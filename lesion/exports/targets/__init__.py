"""Export targets: rates as other tools take them.  One module each, found by its name.

A module in this folder is a target ("torch_prune.py" is torch-prune); nothing else has to be told.
Other packages add theirs as entry points:

    [project.entry-points."lesion.exports"]
    mine = "my_package.my_target"

A target is a module, or anything else, with `SUFFIX`, the ending of its files, and `content`, which
makes of a `Handover` what stands in the file; `RESOLVED = True` says that it needs the network.
"""

import importlib
import pkgutil
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Protocol

from lesion.errors import LesionError, first_line
from lesion.network.anatomy import Anatomy
from lesion.rates.allocation import Allocation

if TYPE_CHECKING:
    from torch import nn

    from lesion.subject.adapter import Adapter

GROUP = "lesion.exports"


@dataclass(frozen=True, eq=False)
class Handover:
    """What a target is given: the rates, and what else is known.

    anatomy: of the network, such as a study has it; network, example, adapter: the user's, and one
        batch of two images or more; None where they were not given
    """

    allocation: Allocation
    anatomy: Anatomy | None = None
    network: "nn.Module | None" = None
    example: Any = None
    adapter: "Adapter | None" = None

    def network_for(self, target: str) -> "tuple[nn.Module, Any]":
        """The network and the batch. Raises LesionError where they are missing."""
        if self.network is None or self.example is None:
            raise LesionError(
                f"Expected the network and a batch for an export to {target}, because it is "
                "resolved on the network itself; give network=… and example=… (--network, --data)."
            )
        return self.network, self.example


class Target(Protocol):
    """What an export target is."""

    SUFFIX: str

    def content(self, given: Handover) -> str | bytes:
        """What stands in the file: a text, or bytes."""


def names() -> list[str]:
    """The targets there are."""
    return sorted({*_built_in(), *(entry.name for entry in _entry_points())})


def target(name: str) -> Target:
    """A target by its name. Raises LesionError where there is none, or it cannot be loaded."""
    if name in _built_in():
        built_in: Any = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
        return built_in  # type: ignore[no-any-return]
    for entry in _entry_points():
        if entry.name == name:
            return _loaded(entry)
    close = get_close_matches(name, names(), 1)
    hint = f"did you mean {close[0]}?" if close else "choose one of them."
    raise LesionError(f"Expected an export target ({', '.join(names())}), got '{name}'; {hint}")


def _built_in() -> list[str]:
    return [module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__)]


def _entry_points() -> list[EntryPoint]:
    return list(entry_points(group=GROUP))


def _loaded(entry: EntryPoint) -> Target:
    try:
        loaded: Target = entry.load()
    except Exception as error:  # another's package may fail in any way
        raise LesionError(
            f"Expected the export target {entry.name} of {entry.value} to load, but it fails "
            f"({type(error).__name__}: {first_line(error)}); install or mend that package."
        ) from error
    if not (hasattr(loaded, "SUFFIX") and hasattr(loaded, "content")):
        raise LesionError(
            f"Expected the export target {entry.name} to have SUFFIX and content, but "
            f"{entry.value} lacks one of them; see lesion.exports."
        )
    return loaded
