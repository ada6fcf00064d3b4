"""Markdown: the rates as a table, for reports and issues."""

from collections.abc import Iterator
from math import isnan

from lesion.exports.targets import Handover
from lesion.harmless import markdown
from lesion.rates.allocation import Allocation
from lesion.rates.unit_rate import UnitRate
from lesion.words import lost, percent, signed

SUFFIX = ".md"


def content(given: Handover) -> str:
    """A heading, what was asked and what remains, a table of all units, guarantee and subject."""
    return "\n".join(_lines(given.allocation)) + "\n"


def _lines(allocation: Allocation) -> Iterator[str]:
    intact, pruned = allocation.intact, allocation.pruned
    macs, parameters = pruned.macs / intact.macs, pruned.parameters / intact.parameters
    yield from ("# Pruning rates", "")
    by = f"; filters fall by {markdown(allocation.criterion)}" if allocation.criterion else ""
    yield (
        f"Asked: {markdown(allocation.goal)}{by}. "
        f"{percent(round(macs, 4))} of the MACs and {percent(round(parameters, 4))} of the "
        f"parameters remain; {_lost(allocation)}."
    )
    yield ""
    yield "| unit | layers | channels kept | rate | alone | at most | reason |"
    yield "|---|---|---|---|---|---|---|"
    yield from (_row(rate) for rate in allocation.rates)
    if allocation.weights:
        whole, left = allocation.footprints
        yield ""
        yield (
            f"{percent(round(left.bytes / whole.bytes, 4))} of the stored bytes and "
            f"{percent(round(left.bops / whole.bops, 4))} of the bit operations remain; of these "
            "layers the weights are damaged:"
        )
        yield from ("", "| layer | damage | amount | alone | at most |", "|---|---|---|---|---|")
    for each in allocation.weights:
        cells = (each.layer, each.damage, each.words, _number(each.drop), _number(each.high))
        yield f"| {' | '.join(map(markdown, cells))} |"
    yield from ("", markdown(allocation.guarantee), "", "Of this subject:", "")
    yield from (
        f"- {markdown(name)}: {markdown(value)}" for name, value in allocation.subject.items()
    )


def _lost(allocation: Allocation) -> str:
    """What all rates lose together, as far as that is known."""
    if isnan(allocation.drop):
        return "their joint drop is not predicted"
    drop = lost(allocation.column, allocation.drop)
    return f"{allocation.known} drop {drop}, at most {signed(allocation.high, 2)}"


def _row(rate: UnitRate) -> str:
    layers, kept = ", ".join(rate.filters), f"{len(rate.kept)} of {rate.channels}"
    ratio, alone, most = percent(rate.rate), _number(rate.drop), _number(rate.high)
    cells = (rate.unit, layers, kept, ratio, alone, most, rate.reason)
    return f"| {' | '.join(map(markdown, cells))} |"


def _number(value: float) -> str:
    return "" if isnan(value) else signed(value, 2)
