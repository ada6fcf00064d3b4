"""Markdown: the rates as a table, for reports and issues."""

from collections.abc import Iterator

from lesion.allocation import Allocation, UnitRate
from lesion.exports import Handover
from lesion.harmless import markdown
from lesion.wording import percent, signed

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
        f"parameters remain; predicted drop {signed(found.drop, 2)} points, "
        f"at most {signed(found.high, 2)}."
    )
    yield ""
    yield "| unit | layers | channels kept | rate | alone | at most | reason |"
    yield "|---|---|---|---|---|---|---|"
    yield from (_row(rate) for rate in found.rates)
    yield from ("", markdown(found.guarantee), "", "Of this subject:", "")
    yield from (f"- {markdown(name)}: {markdown(value)}" for name, value in found.subject.items())


def _row(rate: UnitRate) -> str:
    cells = (
        rate.unit, ", ".join(rate.filters), f"{len(rate.kept)} of {rate.channels}",
        percent(rate.rate), signed(rate.drop, 2), signed(rate.high, 2), rate.reason,
    )  # fmt: skip
    return f"| {' | '.join(map(markdown, cells))} |"
