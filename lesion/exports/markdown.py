"""Markdown: the rates as a table, for reports and issues."""

from collections.abc import Iterator
from math import isnan

from lesion.allocation import Allocation, UnitRate
from lesion.exports import Handover
from lesion.harmless import markdown
from lesion.wording import lost, percent, signed

SUFFIX = ".md"


def content(given: Handover) -> str:
    """A heading, what was asked and what remains, a table of all units, guarantee and subject."""
    return "\n".join(_lines(given.allocation)) + "\n"


def _lines(found: Allocation) -> Iterator[str]:
    macs, parameters = (
        two / one
        for one, two in (
            (found.intact.macs, found.pruned.macs),
            (found.intact.parameters, found.pruned.parameters),
        )
    )
    yield from ("# Pruning rates", "")
    yield (
        f"Asked: {markdown(found.goal)}; filters fall by {markdown(found.criterion)}. "
        f"{percent(round(macs, 4))} of the MACs and {percent(round(parameters, 4))} of the "
        f"parameters remain; {_lost(found)}."
    )
    yield ""
    yield "| unit | layers | channels kept | rate | alone | at most | reason |"
    yield "|---|---|---|---|---|---|---|"
    yield from (_row(rate) for rate in found.rates)
    yield from ("", markdown(found.guarantee), "", "Of this subject:", "")
    yield from (f"- {markdown(name)}: {markdown(value)}" for name, value in found.subject.items())


def _lost(found: Allocation) -> str:
    """What all rates lose together, as far as that is known."""
    if isnan(found.drop):
        return "their joint drop is not predicted"
    drop = lost(found.column, found.drop)
    return f"{found.known} drop {drop}, at most {signed(found.high, 2)}"


def _row(rate: UnitRate) -> str:
    cells = (
        rate.unit, ", ".join(rate.filters), f"{len(rate.kept)} of {rate.channels}",
        percent(rate.rate), *map(_number, (rate.drop, rate.high)), rate.reason,
    )  # fmt: skip
    return f"| {' | '.join(map(markdown, cells))} |"


def _number(value: float) -> str:
    return "" if isnan(value) else signed(value, 2)
