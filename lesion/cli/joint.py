"""Commands that measure rates together: `lesion verify | refine | calibrate | interactions | …`."""

from dataclasses import replace
from typing import TYPE_CHECKING

from lesion.boundary.json_text import as_json
from lesion.boundary.texts import listed, numbers
from lesion.cli import options
from lesion.cli.app import app
from lesion.cli.option_groups import Rates, Recalled, check_figures, check_out, taking
from lesion.cli.options.values import Format
from lesion.cli.output import put, say, say_where, show, tell
from lesion.cli.progress import best_device
from lesion.cli.rates import by_of, print_rates, rated, save_rates, times_of
from lesion.cli.recall import recalled, recalled_score
from lesion.errors import LesionError
from lesion.results.reading import column_of, last_aim
from lesion.study.aim import Aim
from lesion.study.study import Study
from lesion.words import grouped

if TYPE_CHECKING:
    from lesion.joint.bench import Bench


def bench_of(
    study: Study,
    measured: Recalled,
    device: str | None,
    recover: str = "",
    train: str | None = None,
) -> "Bench":
    """The study's subject, on the device."""
    from lesion import zoo
    from lesion.joint.bench import Bench, check_images
    from lesion.sweeps.prepare import move

    check_images(study)
    settings = study.header.settings
    score = recalled_score(None, settings, study.path)
    known = recalled(measured, settings, study.path)
    subject = known.subject(score=score, train=train, seed=settings.get("seed", 0))
    move(subject.network, device or best_device())
    bench = Bench.of(study, subject, zoo.open_recovery(recover))
    for warning in bench.warnings:
        tell(f"warning: {warning}")
    return bench


def _asked(study: Study, max_drop: float | None, confidence: float | None) -> Aim:
    """Tolerance and confidence, by default those of the sweep."""
    last = last_aim(study, column_of(study))
    return Aim(
        last.max_drop if max_drop is None else max_drop,
        last.confidence if confidence is None else confidence,
        last.column,
    )


@app.command()
@taking(measured=Recalled, rates=Rates)
def verify(
    study: options.StudyFile,
    rates: Rates,
    measured: Recalled,
    confidence: options.Sure = None,
    close_loop: options.CloseLoop = False,
    full: options.AllHeld = False,
    baselines: options.Baselines = True,
    recover: options.Recover = "",
    train: options.Train = None,
    out: options.SavedRates = None,
    device: options.Device = None,
    format: options.As = Format.table,
) -> None:
    """Apply the rates together and measure them on the images that the study kept back.

    --max-drop is what they may lose together. The study remembers each check: later ones spend
    less of the error, so that none of them all claims wrongly.
    """
    from lesion.joint.baselines import with_baselines
    from lesion.joint.bench import check_images
    from lesion.joint.closed_loop import tightened
    from lesion.joint.verifier import Verifier, once

    check_out(out, study, *measured.inputs, *rates.inputs)
    chosen = rates if "least" in rates.shares else replace(rates, max_drop=None)
    with Study.open(study) as opened:
        check_images(opened)
        allocation, reading = rated(opened, chosen if rates.bounded else rates, eased=close_loop)
        bench = bench_of(opened, measured, device, recover, train)
        verifier = Verifier(opened, bench, _asked(opened, rates.max_drop, confidence), full)
        if close_loop:
            checked = tightened(
                verifier,
                reading,
                allocation,
                chosen.budget(),
                times=times_of(rates),
                by=by_of(rates),
            )
        else:
            checked = once(verifier, allocation)
        held, last = opened.header.holdout, checked.final.allocation
        others = with_baselines(reading, bench, last, held) if baselines else None
    if format is Format.json:
        put(as_json([check.to_dict() for check in checked.checks]))
    else:
        say(checked.text())
        if others is not None:
            say(f"Beside rates that cost as much, on all {grouped(len(held))} images kept back:")
            show(others, format)
    save_rates(out, last, format)


@app.command()
@taking(measured=Recalled, rates=Rates)
def interactions(
    study: options.StudyFile,
    rates: Rates,
    measured: Recalled,
    pairs: options.Pairs = 50,
    images: options.OnImages = 2000,
    confidence: options.Confidence = 95,
    out: options.AlsoDrawn = None,
    formats: options.Formats = "png",
    device: options.Device = None,
    format: options.As = Format.table,
) -> None:
    """Measure pairs of cuts: which hurt more together than one by one, and which less."""
    from lesion.joint.bench import check_images
    from lesion.joint.interactions import interactions as measure

    check_figures(out, formats)
    with Study.open(study) as opened:
        check_images(opened)
        allocation, _ = rated(opened, rates)
        bench = bench_of(opened, measured, device)
        strongest = measure(
            opened, bench, allocation, pairs=pairs, images=images, confidence=confidence
        )
    show(strongest.table, format)
    if format is Format.table and strongest.screened:
        say(f"the strongest of {strongest.screened} pairs, chosen on other images")
    if out is not None:
        from lesion.reports.plots.save import save_interactions

        for path in save_interactions(strongest, out, formats=listed(formats)):
            say_where(str(path), format)


@app.command()
@taking(measured=Recalled)
def calibrate(
    study: options.StudyFile,
    measured: Recalled,
    sets: options.Sets = 59,
    images: options.OnImages = 2000,
    criterion: options.Criterion = None,
    device: options.Device = None,
) -> None:
    """Measure random sets of rates together, so that upper predictions hold for this network."""
    from lesion.joint.calibrate import calibrate as calibrate_on

    with Study.open(study) as opened:
        bench = bench_of(opened, measured, device)
        learned = calibrate_on(opened, bench, sets=sets, images=images, criterion=criterion)
    upper = ", ".join(f"{learned.upper(drop):.1f} where they predict {drop}" for drop in (1, 5, 10))
    say(
        f"{len(learned.measured)} random sets of rates on {grouped(learned.images)} images, "
        f"predicted by {learned.by}: with 95 % confidence 95 % of such sets lose at most {upper} "
        "points"
    )


@app.command()
@taking(measured=Recalled, rates=Rates)
def refine(
    study: options.StudyFile,
    rates: Rates,
    measured: Recalled,
    images: options.OnImages = 2000,
    rounds: options.Rounds = 6,
    recover: options.Recover = "",
    train: options.Train = None,
    out: options.SavedRates = None,
    device: options.Device = None,
    format: options.As = Format.table,
) -> None:
    """Improve the rates of a budget by measuring them and their neighbours together.

    With --recover: measure after it rates from the predicted ones to one rate for all, and take
    the best; after least squares (reconstruct, fold) move on from there.
    """
    from lesion.joint.bench import check_images
    from lesion.joint.refine import improved

    check_out(out, study, *measured.inputs, *rates.inputs)
    if not rates.bounded:
        raise LesionError(
            "Expected a budget for rates that are refined, got none; give --macs 50%."
        )
    if rates.after and not recover:
        raise LesionError(
            "Expected a recovery to measure rates after, since lesions that recovered by "
            f"{rates.after} are to be judged, got none; give --recover and --train, or leave "
            "out --after."
        )
    with Study.open(study) as opened:
        check_images(opened)
        allocation, reading = rated(opened, rates)
        budget, times = rates.budget(), times_of(rates)
        bench = bench_of(opened, measured, device, recover, train)
        by = by_of(rates)
        better = improved(reading, bench, allocation, budget, images, rounds, times, by)
    print_rates(better, format)
    save_rates(out, better, format)


@app.command()
@taking(measured=Recalled)
def tradeoff(
    study: options.StudyFile,
    measured: Recalled,
    shares: options.Shares = "0.9,0.8,0.7,0.6,0.5,0.4,0.3",
    rounds: options.Rounds = 6,
    recover: options.Recover = "",
    train: options.Train = None,
    out: options.AlsoDrawn = None,
    formats: options.Formats = "png",
    device: options.Device = None,
    format: options.As = Format.table,
) -> None:
    """Measure accuracy against cost: refined rates, one rate for all, and a global ranking."""
    from lesion.joint.tradeoff import tradeoff as measure

    check_figures(out, formats)
    with Study.open(study) as opened:
        bench = bench_of(opened, measured, device)
        recovered = bench_of(opened, measured, device, recover, train) if recover else None
        table = measure(
            opened,
            bench,
            numbers(shares, "--shares", percent=0.01) or (),
            rounds=rounds,
            recovered=recovered,
        )
    show(table, format)
    if out is not None:
        from lesion.reports.plots.save import save_tradeoff

        for path in save_tradeoff(table, out, formats=listed(formats)):
            say_where(str(path), format)
