"""Rates as another tool takes them, written to a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesion.boundary.files import write
from lesion.exports.targets import Handover, target
from lesion.network.anatomy import Anatomy
from lesion.rates.allocation import Allocation

MIXED = ("json", "markdown")  # what tells of weights that change too

if TYPE_CHECKING:
    from torch import nn

    from lesion.subject.adapter import Adapter


def export(
    allocation: Allocation,
    to: str,
    path: str | Path | None = None,
    *,
    anatomy: Anatomy | None = None,
    network: "nn.Module | None" = None,
    example: Any = None,
    adapter: "Adapter | None" = None,
) -> str | bytes:
    """The rates as the target `to` takes them, written to `path` if there is one.

    anatomy: what a study knows of the network, by which shares and masks are exact for every layer
    Rates that change weights as well go to json and markdown alone.  Raises LesionError for others.
    network, example: for the targets that are resolved on the network itself, torch-pruning and
        torch-prune; it comes back as it was
    """
    if to not in MIXED:
        allocation.check_filters(f"{to}, which takes filters")
    content = target(to).content(Handover(allocation, anatomy, network, example, adapter))
    if path is not None:
        write(path, content)
    return content
