"""Export targets: rates as other tools take them.  One module each, found by its name.

A module in this folder is a target ("torch_prune.py" is torch-prune); nothing else has to be told.
Other packages add theirs as entry points:

    [project.entry-points."lesion.exports"]
    mine = "my_package.my_target"

A target is a module, or anything else, with `SUFFIX`, the ending of its files, and `content`, which
makes of a `Handover` what stands in the file; `RESOLVED = True` says that it needs the network.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from lesion.errors import LesionError
from lesion.network.anatomy import Anatomy
from lesion.plugins import Plugins
from lesion.rates.allocation import Allocation

if TYPE_CHECKING:
    from torch import nn

    from lesion.subject.adapter import Adapter

plugins = Plugins(__name__, "lesion.exports", "an export target", dash="-")


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
    return plugins.names()


def target(name: str) -> Target:
    """A target by its name. Raises LesionError where there is none, or it cannot be loaded."""
    loaded: Target = plugins.load(name)
    if not (hasattr(loaded, "SUFFIX") and hasattr(loaded, "content")):
        raise LesionError(
            f"Expected the export target {name} to have SUFFIX and content, but "
            f"{getattr(loaded, '__name__', name)} lacks one of them; see lesion.exports.targets."
        )
    return loaded
