"""The rates that options ask for: made, printed and saved."""

from pathlib import Path
from typing import TYPE_CHECKING

from lesion.advice import Advice
from lesion.allocating import allocated, by_stage, check, reading_of
from lesion.allocation import Allocation, as_json
from lesion.commands.records import Rates
from lesion.errors import LesionError
from lesion.judging import advise
from lesion.options.values import Format
from lesion.reading import Reading
from lesion.showing import put, say, say_where, show
from lesion.study import Study

if TYPE_CHECKING:
    from lesion.latency import Times


def rated(study: Study, rates: Rates, eased: bool = False) -> tuple[Allocation, Reading]:
    """The rates that the options ask for, and the lesions that they rest on.

    They are saved ones, within a budget, or the stages' own; eased: whether a budget is made of
    them in any case
    """
    if not eased:
        rates.check_details()
    if rates.rates is not None:
        if rates.bounded:
            raise LesionError("Expected saved rates or a budget, got both; leave one out.")
        saved = Allocation.load(rates.rates)
        saved.check(study.header.subject)
        return saved, reading_of(study, saved, rates.recovery)
    if not rates.bounded:
        reading = rates.reading(study).asking(rates.max_drop, None)
        return by_stage(reading, advise(reading)), reading
    budget, times = rates.budget(), times_of(rates)
    check(budget, times)
    reading = rates.reading(study)
    return allocated(reading, budget, times, by_of(rates)), reading


def by_of(rates: Rates) -> str:
    """What rates within a budget are predicted by, "" where that was not said."""
    return rates.by.value if rates.by else ""


def times_of(rates: Rates) -> "Times | None":
    """The table of times, if there is one."""
    if rates.times is None:
        return None
    from lesion.latency import Times

    return Times.load(rates.times)


def print_rates(rates: Advice | Allocation, format: Format) -> None:
    """Prints advice or rates."""
    if format is Format.json:
        put(as_json(rates.to_dict()))
    elif format is Format.csv:
        show(rates.table(), format)
    else:
        say(rates.text())


def save_rates(out: Path | None, allocation: Allocation, format: Format) -> None:
    """Saves rates where a file is named, and says so."""
    if out is not None:
        allocation.save(out)
        say_where(f"rates: {out}", format)
