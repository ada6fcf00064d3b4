"""Commands that run the network: `lesion layers | sweep | evaluate | demo`."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from lesion.boundary.texts import listed, numbers, seconds, several
from lesion.cli import options
from lesion.cli.app import app
from lesion.cli.option_groups import Measured, Resumed, Shown, check_figures, taking
from lesion.cli.options.values import Format, Rounding, Units
from lesion.cli.output import itemise, reasons, say, show, tell
from lesion.cli.progress import (
    Means,
    baseline,
    check_place,
    evaluated,
    foresee,
    make_folder,
    prepared,
    resumable,
    run,
)
from lesion.cli.recall import recalled, recalled_score, settings_at, source
from lesion.cli.report import drawn, judged
from lesion.errors import LesionError
from lesion.network.anatomy import Anatomy
from lesion.network.cost import cost
from lesion.results.reading import DAMAGE
from lesion.study.aim import Aim
from lesion.words import grouped

if TYPE_CHECKING:
    from lesion.sweeps.choices import Choices

SHOWN = 5.0  # points to either side, of the curves that the demonstration draws
KEPT_BACK = 0.7  # of its images, so that it is soon done


@app.command()
@taking(measured=Shown)
def layers(
    measured: Shown,
    format: options.As = Format.table,
) -> None:
    """Show the anatomy: every layer, its stage, block and unit, its MACs and parameters.

    Two images of the data are read, or made of noise of a shape (--input 3x224x224), to see what
    the network takes; nothing is measured.
    """
    from lesion.network.layers import layers as find

    tried = measured.tried()
    anatomy = find(tried.network, tried.example, tried.adapter)
    if format is Format.table:
        _show_anatomy(anatomy)
    else:
        show(anatomy.table(), format)
    for note in (*anatomy.notes, *filter(None, [tried.several])):
        tell(f"note: {note}")
    if anatomy.whole:
        tell(f"note: measured by whole forward passes: {anatomy.whole}")


def _show_anatomy(anatomy: Anatomy) -> None:
    """The table, what it adds up to, and below it why units are tied."""
    table = anatomy.table()
    short = table.assign(position=table["position"].str.replace(" of stage", ""))
    less = ("block", "in stage", "kind", "params", "stage")
    titles = {"macs": "MACs", "position": "in stage"}
    show(short.drop(columns="reason"), Format.table, less, titles)
    intact, kinds = cost(anatomy), [unit.kind for unit in anatomy.units]
    count = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("free", "coupled", "tied"))
    say(f"{len(anatomy.layers)} layers in {len(kinds)} units: {count}")
    say(
        f"{grouped(intact.macs)} MACs an image; {grouped(intact.parameters)} parameters, "
        f"{grouped(intact.weights)} of them weights of these layers"
    )
    tied = table["status"] == "tied"
    itemise("tied, cannot be removed:", reasons(table[tied]))
    itemise("held, can be lesioned but not be made smaller:", reasons(table[~tied]))


@app.command()
@taking(measured=Resumed)
def sweep(
    measured: Resumed,
    out: options.NewStudy,
    max_drop: options.Aimed = 1.0,
    confidence: options.Certain = 95,
    half_width: options.HalfWidth = None,
    full: options.Everything = False,
    time_limit: options.TimeLimit = None,
    dry_run: options.Dry = False,
    score: options.KnownScore = None,
    order: options.WhichOrder = None,
    estimand: options.Of = None,
    recover: options.Recover = "",
    train: options.Train = None,
    damage: options.NewDamage = "filters",
    ratios: options.Ratios = None,
    criterion: options.NewCriterion = "l1",
    layers: options.Layers = None,
    units: options.WhichUnits = Units.free,
    rounding: options.WhichRounding = Rounding.floor_kept,
    images: options.FirstImages = None,
    holdout: options.Holdout = None,
    seed: options.KnownSeed = None,
    memory: options.Memory = None,
    device: options.Device = None,
    workers: options.Workers = None,
    runner: options.WhichRunner = "here",
    log: options.Logs = None,
) -> None:
    """Measure what each layer costs: prune it alone, at rising ratios, until the largest safe one
    is certain; or do other damage to it.

    Stop it whenever you like: the same command goes on where it stopped, and with another
    tolerance, more amounts, layers or images it measures what is new. What a study knows of its
    network, images, score, order and seed need not be said again.
    """
    with resumable(out):
        from lesion import zoo
        from lesion.engine.memory import parse
        from lesion.subject.subject import judged
        from lesion.sweeps.choices import Choices
        from lesion.sweeps.goals import aimed
        from lesion.sweeps.identity import HOLDOUT
        from lesion.sweeps.logs import check, opened

        check(log or ())
        check_place(out)
        known = settings_at(out)
        measured_as = recalled(measured, known, out)
        score = recalled_score(score, known, out)
        seed = known.get("seed", 0) if seed is None else seed
        base = Choices(
            ratios=numbers(ratios, "--amounts", percent=0.01),
            criterion=criterion,
            units=units.value,
            layers=listed(layers),
            rounding=rounding.value,
            seed=seed,
            holdout=known.get("holdout", HOLDOUT) if holdout is None else holdout,
            order=order.value if order else known.get("order", "margin"),
            estimand=estimand.value if estimand else known.get("estimand", "set"),
            recovery=zoo.open_recovery(recover),
            source=source(measured_as, score),
        )
        each = of_each(base, damage)
        goal = aimed(max_drop, confidence, judged(score), half_width, full)
        longest = seconds(time_limit)
        room = None if memory is None else parse(memory)
        reopen = partial(measured_as.subject, score=score, workers=workers, seed=seed, train=train)
        means = Means(images, room, device, runner, reopen)
        subject = reopen()
        say(f"preprocessing: {subject.preprocessing or 'none'}")
        end = monotonic() + longest
        unseeing = replace(subject, train=None) if any(c.sees for c in each) else subject
        for choices in each:
            shown = subject if choices.sees else unseeing
            if dry_run:
                foresee(shown, out, choices, goal, means)
                continue
            with prepared(shown, out, choices, goal, means) as ready:
                left = max(end - monotonic(), 0.001)  # so that what it asks is in the study
                run(ready, left, opened(log or ()))
                intact = baseline(ready.study)
        if dry_run:
            return
        say(intact)
        say(f"study: {out}\nnext: lesion recommend {out}")


def of_each(base: "Choices", damage: str) -> "list[Choices]":
    """The choices for each damage of a text. Raises LesionError for what cannot be."""
    each = [replace(base, damage=kind) for kind in several(damage)]
    for choices in each:
        choices.check()
    if base.ratios is not None and len(each) > 1:
        raise LesionError(
            f"Expected one damage where --amounts are given, got '{damage}': leave them out, or "
            "sweep one after the other into the same study."
        )
    return each


@app.command()
@taking(measured=Measured)
def evaluate(
    measured: Measured,
    evaluate: options.Function,
    out: options.NewStudy,
    part: options.Part = "",
    time_limit: options.TimeLimit = None,
    damage: options.NewDamage = "filters",
    ratios: options.Ratios = None,
    criterion: options.NewCriterion = "l1",
    layers: options.Layers = None,
    units: options.WhichUnits = Units.free,
    rounding: options.WhichRounding = Rounding.floor_kept,
    seed: options.Seed = 0,
    device: options.Device = None,
) -> None:
    """Measure by a function of the whole network, for what is no mean over images, such as mAP.

    Each lesion takes one evaluation: none stops early. Drops are in the function's own unit; an
    interval stands behind them where it returns a lesion.SetScore. Of the data two images are read,
    to see the layers. Where an image has a score of its own, `lesion sweep --score` needs far fewer
    passes.
    """
    with resumable(out):
        from lesion import zoo
        from lesion.sweeps.choices import Choices

        base = Choices(
            ratios=numbers(ratios, "--amounts", percent=0.01),
            criterion=criterion,
            units=units.value,
            layers=listed(layers),
            rounding=rounding.value,
            seed=seed,
            source=source(measured),
        )
        each = of_each(base, damage)
        if measured.output is not None:
            raise LesionError(
                f"Expected no output for an evaluation, which is given the network, got "
                f"'{measured.output}'; let the function take what it scores."
            )
        if measured.class_map is not None:
            raise LesionError(
                f"Expected no class map for an evaluation, which is given the network alone, got "
                f"{measured.class_map}; let the function number the classes."
            )
        longest = seconds(time_limit)
        check_place(out)
        module, function, example = zoo.open_evaluation(
            measured.network, measured.weights, measured.data, evaluate, seed=seed, **measured.named
        )
        end = monotonic() + longest
        for choices in each:
            with evaluated(module, function, out, example, choices, part, device) as ready:
                run(ready, max(end - monotonic(), 0.001))
                intact = baseline(ready.study)
        say(intact)
        say(f"study: {out}\nnext: lesion recommend {out} --max-drop …")


@app.command()
def demo(
    out: options.Folder = Path("lesion-demo"),
    network: options.DemoNetwork = "demo:resnet56",
    max_drop: options.Aimed = 1.0,
) -> None:
    """Measure a bundled network on bundled images: skip list, rates, study, page and figures.

    First every layer's largest safe ratio, then the drop at every ratio to five points.
    """
    file, page = out / "study.lesion", out / "report.html"
    check_figures(out, "png")
    make_folder(out)
    with resumable(file):
        from lesion import zoo
        from lesion.reports.page.report import report as make_page
        from lesion.sweeps.choices import Choices
        from lesion.sweeps.goals import Chart, Decide

        say(f"{network} on the test images of Fashion-MNIST")
        named = {"network": network, "data": "demo:fashion-mnist"}
        subject = zoo.open_subject(network, None, named["data"])
        choices = Choices(holdout=KEPT_BACK, source={"options": named, "code": {}})
        with prepared(subject, file, choices, Decide(Aim(max_drop))) as ready:
            run(ready)
            ready.goal = Chart(Aim(max_drop), SHOWN)
            run(ready)
            advice, without = judged(ready.study, max_drop)
            say(advice.text() if advice else without)
            paths = drawn(ready.study, out, {DAMAGE: advice})
            make_page(ready.study, page, class_names=zoo.output_names(named, subject.classes))
    itemise(f"study: {file}", [f"page: {page}", *(f"figure: {path}" for path in paths)])
