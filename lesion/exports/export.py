"""Rates and bits as another tool takes them, written to a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesion.boundary.files import write
from lesion.errors import LesionError
from lesion.exports.targets import FILTERS, QUANTISE, Handover, check_takes, damage_of, target
from lesion.exports.widths import Widths
from lesion.network.anatomy import Anatomy
from lesion.rates.allocation import Allocation
from lesion.results.advice import Advice

MIXED = ("json", "markdown")  # what tells of weights that change too

if TYPE_CHECKING:
    from torch import nn

    from lesion.subject.adapter import Adapter


def export(
    allocation: Allocation | Advice,
    to: str,
    path: str | Path | None = None,
    *,
    anatomy: Anatomy | None = None,
    network: "nn.Module | None" = None,
    example: Any = None,
    adapter: "Adapter | None" = None,
    bits: int | None = None,
    onnx: str | Path | None = None,
) -> str | bytes:
    """The rates as the target `to` takes them, written to `path` if there is one.

    allocation: rates of filters, which where they change weights too go to json and markdown alone;
        for tools that quantise the advice that `lesion.recommend` gives on the damage `quantise`
    anatomy: what a study knows of the network (`study.anatomy`), by which shares and masks are
        exact for every layer; tools that quantise need it
    network, example: for the targets that are resolved on the network itself, torch-pruning and
        torch-prune, and the network alone where nodes of an ONNX file are named; it comes back as
        it was
    bits: the width that a tool quantises to, None for 8, or for each layer's own where the tool has
        several: layers that are not surely safe at it are excluded
    onnx: the file that the tool quantises, for names of its nodes

    Raises LesionError where a target takes advice of another damage, and for what it cannot be
    told.
    """
    check_takes(to, allocation.damage if isinstance(allocation, Advice) else FILTERS)
    chosen = target(to)
    check_options(to, bits, onnx)
    if isinstance(allocation, Allocation):
        if to not in MIXED:
            allocation.check_filters(f"{to}, which takes filters")
        given: Handover | Widths = Handover(allocation, anatomy, network, example, adapter)
    elif anatomy is None or allocation.damage == FILTERS:
        raise LesionError(
            "Expected rates of filters as an allocation, and advice on bits with the network's "
            "anatomy; give lesion.recommend(study, budget=…), or anatomy=study.anatomy."
        )
    else:
        given = Widths(allocation, anatomy, bits, None if onnx is None else Path(onnx), network)
    content = chosen.content(given)
    if path is not None:
        write(path, content)
    return content


def check_options(to: str, bits: int | None, onnx: str | Path | None) -> None:
    """Raises LesionError where a target has no use for a width or a file."""
    if damage_of(target(to)) == QUANTISE:
        return
    for name, value in (("bits", bits), ("onnx", onnx)):
        if value is not None:
            raise LesionError(
                f"Expected a tool that quantises for --{name}, got {to}; leave it out."
            )
