"""Commands that pick rates, and what they share: `lesion time`."""

from pathlib import Path
from typing import TYPE_CHECKING

from lesion.boundary.json_text import as_json
from lesion.cli import options
from lesion.cli.app import app
from lesion.cli.option_groups import Rates, Shown, check_out, taking
from lesion.cli.options.values import Format
from lesion.cli.output import put, say, say_where, show
from lesion.cli.progress import best_device
from lesion.errors import LesionError
from lesion.rates.allocate import by_stage, check, reading_of
from lesion.rates.allocation import Allocation
from lesion.rates.recommend import within
from lesion.results.advice import Advice
from lesion.results.advise import advise
from lesion.results.reading import Reading
from lesion.study.study import Study

if TYPE_CHECKING:
    from lesion.rates.latency import Times


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
        return saved, reading_of(study, saved, rates.after)
    if not rates.bounded:
        reading = rates.reading(study).asking(rates.max_drop, None)
        return by_stage(reading, advise(reading)), reading
    budget, times = rates.budget(), times_of(rates)
    check(budget, times)
    reading = rates.reading(study)
    return within(reading, budget, times, by_of(rates)), reading


def by_of(rates: Rates) -> str:
    """What rates within a budget are predicted by, "" where that was not said."""
    return rates.by.value if rates.by else ""


def times_of(rates: Rates) -> "Times | None":
    """The table of times, if there is one."""
    if rates.times is None:
        return None
    from lesion.rates.latency import Times

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


@app.command()
@taking(measured=Shown)
def time(
    measured: Shown,
    out: options.TimesOut,
    batch: options.BatchTimed = 32,
    device: options.Device = None,
    runtime: options.WhichRuntime = "torch",
) -> None:
    """Measure how long layers and smaller networks take, for --latency.

    On this device in torch, in ONNX Runtime on the CPU, or wherever a function of yours runs a
    module: it takes the module and images and gives milliseconds.
    """
    from lesion import zoo
    from lesion.rates.time import time as measure
    from lesion.sweeps.prepare import move

    check_out(out, *measured.inputs)
    tried = measured.tried()
    chosen = zoo.open_runtime(runtime)
    move(tried.network, device or (best_device() if runtime == "torch" else "cpu"))
    times = measure(tried.network, tried.example, tried.adapter, batch=batch, runtime=chosen)
    say(
        f"{len(times.layers)} layers; {batch} images take {times.whole:.2f} ms on {times.device} "
        f"with {times.threads} threads; {times.known}"
    )
    times.save(out)
    say(f"times: {out}")
