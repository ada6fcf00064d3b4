"""Export targets: rates and bits as other tools take them.  One module each, found by its name.

A module in this folder is a target ("torch_prune.py" is torch-prune); nothing else has to be told.
Other packages add theirs as entry points:

    [project.entry-points."lesion.exports"]
    mine = "my_package.my_target"

A target is a module, or anything else, with `SUFFIX`, the ending of its files, and `content`, which
makes of a `Handover` what stands in the file; `RESOLVED = True` says that it needs the network.
One with `DAMAGE = "quantise"` takes advice on bits in place of rates: its `content` is given
`lesion.exports.widths.Widths`.
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

FILTERS, QUANTISE = "filters", "quantise"

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

    def content(self, given: Any) -> str | bytes:
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


def damage_of(target: Target) -> str:
    """The damage that a target takes advice of: "filters" unless it says another."""
    return str(getattr(target, "DAMAGE", FILTERS))


def check_takes(name: str, damage: str) -> None:
    """Raises LesionError where a target takes advice of another damage; options do not matter."""
    takes = damage_of(target(name))
    word = damage.partition(":")[0]
    if takes == word:
        return
    if word == QUANTISE and takes == FILTERS:
        remedy = "export these bits to a tool that quantises, such as nncf or onnxruntime"
    else:
        remedy = f"sweep with --damage {takes}, or export to a target that takes {word}"
    raise LesionError(f"Expected advice of {takes} for {name}, got advice of {damage}; {remedy}.")
