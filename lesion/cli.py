"""The command line: `lesion layers | sweep | evaluate | curves | recommend | compare | plot | …`.

What needs torch or matplotlib is imported in the command that uses it, so that help and the
commands that read a study are quick.
"""

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from lesion import __version__, options
from lesion.advice import Advice
from lesion.aim import Aim
from lesion.anatomy import Anatomy
from lesion.attended import (
    baseline,
    check_place,
    doubt,
    evaluated,
    foresee,
    make_folder,
    prepared,
    resumable,
    run,
)
from lesion.classes import class_drops
from lesion.comparison import compare as compare_in
from lesion.cost import cost
from lesion.curves import curves as curves_of
from lesion.errors import EvidenceError, LesionError
from lesion.judging import recommend as recommend_from
from lesion.merging import merge as merge_studies
from lesion.options import Estimand, Format, Guarantee, Order, Rounding, Units, listed, numbers
from lesion.plan import RATIOS
from lesion.showing import put, reasons, say, show, tell
from lesion.study import Study
from lesion.wording import grouped

app = typer.Typer(
    help="Which layers of a convolutional network can be pruned, and how far.\n\n"
    "`lesion demo` shows it on a bundled network. On your own, `lesion layers` looks at it, "
    "`lesion sweep` measures it, and the other commands read the study file that comes out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
EVERY_TENTH = ",".join(map(str, RATIOS))


def main() -> None:
    """Run the command line; an error is one sentence and exit status 1."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # not every stream that may stand in for them has it
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        app(prog_name="lesion")
    except LesionError as error:
        tell(f"lesion: {error}")
        sys.exit(1)


def _version(asked: bool) -> None:
    if asked:
        put(f"lesion {__version__}")
        raise typer.Exit


@app.callback()
def _everywhere(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command()
def layers(
    network: options.Network,
    data: options.Data,
    weights: options.Weights = None,
    classes: options.Classes = None,
    resize: options.Resize = None,
    crop: options.Crop = None,
    mean: options.Mean = None,
    std: options.Std = None,
    score: options.WhichScore = "agreement",
    format: options.As = Format.table,
) -> None:
    """Show the anatomy: every layer, its stage, block and unit, its MACs and parameters.

    Two images of the data are read, to see what the network takes; nothing is measured.
    """
    from lesion import zoo
    from lesion.dissect import find_layers

    subject = zoo.open_subject(
        network, weights, data, resize=resize, crop=crop, mean=numbers(mean, "--mean"),
        std=numbers(std, "--std"), classes=classes, score=score,
    )  # fmt: skip
    anatomy = find_layers(subject.network, subject.example, subject.adapter)
    if format is Format.table:
        _show_anatomy(anatomy)
    else:
        show(anatomy.table(), format)
    for note in anatomy.notes:
        tell(f"note: {note}")
    if anatomy.whole:
        tell(f"note: measured by whole forward passes: {anatomy.whole}")


def _show_anatomy(anatomy: Anatomy) -> None:
    """The table, what it adds up to, and below it why units are tied."""
    found = anatomy.table()
    short = found.assign(position=found["position"].str.replace(" of stage", ""))
    less = ("block", "in stage", "kind", "params", "stage")
    titles = {"macs": "MACs", "position": "in stage"}
    show(short.drop(columns="reason"), Format.table, less, titles)
    own, kinds = cost(anatomy), [unit.kind for unit in anatomy.units]
    count = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("free", "coupled", "tied"))
    say(f"{len(anatomy.layers)} layers in {len(kinds)} units: {count}")
    say(
        f"{grouped(own.macs)} MACs an image; {grouped(own.parameters)} parameters, "
        f"{grouped(own.weights)} of them weights of these layers"
    )
    _list("tied, cannot be removed:", reasons(found))


def _list(title: str, lines: Sequence[str]) -> None:
    for line in (title, *lines) if lines else ():
        say(line)


@app.command()
def sweep(
    network: options.Network,
    data: options.Data,
    out: options.NewStudy,
    weights: options.Weights = None,
    classes: options.Classes = None,
    resize: options.Resize = None,
    crop: options.Crop = None,
    mean: options.Mean = None,
    std: options.Std = None,
    max_drop: options.Aimed = 1.0,
    confidence: options.Certain = 95,
    half_width: options.HalfWidth = None,
    full: options.Everything = False,
    budget: options.Budget = None,
    dry_run: options.Dry = False,
    score: options.WhichScore = "top1",
    order: options.WhichOrder = Order.margin,
    estimand: options.Of = Estimand.set,
    recover: options.Recover = "",
    train: options.Train = None,
    ratios: options.Ratios = EVERY_TENTH,
    criterion: options.NewCriterion = "l1",
    layers: options.Layers = None,
    units: options.WhichUnits = Units.free,
    rounding: options.WhichRounding = Rounding.floor_kept,
    limit: options.Limit = None,
    holdout: options.Holdout = 0.2,
    seed: options.Seed = 0,
    memory: options.Memory = None,
    device: options.Device = None,
    workers: options.Workers = None,
) -> None:
    """Measure: prune each unit on its own, at rising ratios, until it is told what it costs.

    Stop it whenever you like: the same command goes on where it stopped, and with another
    tolerance, more ratios, layers or images it measures what is new.
    """
    with resumable(out):
        from lesion import zoo
        from lesion.goals import aimed
        from lesion.memory import parse
        from lesion.subject import judged
        from lesion.sweeping import Choices

        choices = Choices(
            ratios=numbers(ratios, "--ratios") or (), criterion=criterion, units=units.value,
            layers=listed(layers), rounding=rounding.value, seed=seed, holdout=holdout,
            order=order.value, estimand=estimand.value, recovery=zoo.open_recovery(recover),
        )  # fmt: skip
        choices.check()
        goal = aimed(max_drop, confidence, judged(score), half_width, full)
        longest = options.seconds(budget)
        check_place(out)
        room = None if memory is None else parse(memory)
        subject = zoo.open_subject(
            network, weights, data, resize=resize, crop=crop, mean=numbers(mean, "--mean"),
            std=numbers(std, "--std"), classes=classes, score=score, workers=workers, seed=seed,
            train=train,
        )  # fmt: skip
        say(f"preprocessing: {subject.preprocessing or 'none'}")
        if dry_run:
            foresee(subject, out, choices, goal, limit, room, device)
            return
        with prepared(subject, out, choices, goal, limit, room, device) as ready:
            run(ready, longest)
            say(baseline(ready.study))
        say(f"study: {out}\nnext: lesion recommend {out}")


@app.command()
def evaluate(
    network: options.Network,
    data: options.Data,
    evaluate: options.Function,
    out: options.NewStudy,
    part: options.Part = "",
    weights: options.Weights = None,
    classes: options.Classes = None,
    resize: options.Resize = None,
    crop: options.Crop = None,
    mean: options.Mean = None,
    std: options.Std = None,
    budget: options.Budget = None,
    ratios: options.Ratios = EVERY_TENTH,
    criterion: options.NewCriterion = "l1",
    layers: options.Layers = None,
    units: options.WhichUnits = Units.free,
    rounding: options.WhichRounding = Rounding.floor_kept,
    seed: options.Seed = 0,
    device: options.Device = None,
) -> None:
    """Measure by a function of the whole network, for what is no mean over images, such as mAP.

    Each lesion takes one evaluation: none stops early, and no interval stands behind a drop, which
    is in the function's own unit. Of the data two images are read, to see the layers. Where an
    image has a score of its own, `lesion sweep --score` needs far fewer passes.
    """
    with resumable(out):
        from lesion import zoo
        from lesion.sweeping import Choices

        choices = Choices(
            ratios=numbers(ratios, "--ratios") or (), criterion=criterion, units=units.value,
            layers=listed(layers), rounding=rounding.value, seed=seed,
        )  # fmt: skip
        choices.check()
        longest = options.seconds(budget)
        check_place(out)
        module, function, example = zoo.open_evaluation(
            network, weights, data, evaluate, resize=resize, crop=crop,
            mean=numbers(mean, "--mean"), std=numbers(std, "--std"), classes=classes, seed=seed,
        )  # fmt: skip
        with evaluated(module, function, out, example, choices, part, device) as ready:
            run(ready, longest)
            say(baseline(ready.study))
        say(f"study: {out}\nnext: lesion recommend {out} --max-drop …")


@app.command()
def curves(
    study: options.StudyFile,
    format: options.As = Format.table,
    confidence: options.Confidence = 95,
    by_class: options.ByClass = False,
) -> None:
    """Show accuracy and drop of every layer at every ratio, with paired intervals."""
    if by_class:
        with Study.open(study) as opened:
            show(class_drops(opened), format)
        return
    with Study.open(study) as opened:
        found, summary = curves_of(opened, confidence=confidence), baseline(opened)
    if format is Format.table:
        _show_curves(found)
        say(summary)
    else:
        show(found, format)


def _show_curves(found: pd.DataFrame) -> None:
    """The rows with numbers as a table, below it why the others have none."""
    table = found[found["reason"] == ""]
    if len(table):
        removed = table["pruned"].astype(str) + "/" + table["channels"].astype(str)
        names = ("criterion", "recovery", "rounding", "seed")
        varied = [name for name in names if table[name].nunique() > 1]
        columns = ["layer", "number", "stage", "kind", *varied, "ratio", "removed", "images",
                   "baseline", "accuracy", "drop", "low", "high"]  # fmt: skip
        less = ("stage", "baseline", "number", "images", "kind")
        show(table.assign(removed=removed)[columns], Format.table, less)
    _list("without numbers:", reasons(found))


@app.command()
def recommend(
    study: options.StudyFile,
    max_drop: options.MaxDrop = None,
    confidence: options.Sure = None,
    criterion: options.Criterion = None,
    guarantee: options.Whose = Guarantee.study,
    recovery: options.Recovered = "",
    format: options.As = Format.table,
) -> None:
    """Say which layers to skip, and rates for stages and layers, each with its reason."""
    with Study.open(study) as opened:
        advice = recommend_from(
            opened, max_drop, confidence, criterion, guarantee=guarantee.value, recovery=recovery
        )
        doubt(opened)
    if format is Format.json:
        put(json.dumps(advice.to_dict(), indent=2))
    elif format is Format.csv:
        show(advice.table(), format)
    else:
        say(advice.text())


@app.command()
def compare(
    study: options.StudyFile,
    recovery: options.Compared = None,
    ratio: options.AtRatio = None,
    criterion: options.Criterion = None,
    out: options.AlsoDrawn = None,
    formats: options.Formats = "png",
    format: options.As = Format.table,
) -> None:
    """Say how recovery changes the ranking of layers: drops one-shot beside drops after it."""
    with Study.open(study) as opened:
        recovery = recovery or next(iter(opened.recoveries), "bn")
        found = compare_in(opened, recovery, ratio, criterion)
        frame = curves_of(opened)
    if format is Format.table:
        show(found.layers, format)
        say(found.text())
    else:
        show(found.cells, format)
    if out is not None:
        import matplotlib

        matplotlib.use("Agg")  # files need no window
        from lesion.plots import save_recovery

        for path in save_recovery(
            frame, recovery, out, criterion=criterion, formats=listed(formats)
        ):
            put(str(path))


@app.command()
def plot(
    study: options.StudyFile,
    out: options.Folder,
    formats: options.Formats = "png",
    max_drop: options.MaxDrop = None,
    confidence: options.Confidence = 95,
    criterion: options.Criterion = None,
) -> None:
    """Draw the curves, a heatmap, the sorted filter norms, and the rates."""
    with Study.open(study) as opened:
        advice, without = _judged(opened, max_drop, criterion)
        paths = _drawn(opened, out, advice, listed(formats), confidence, criterion)
    if without:
        tell(f"drawn without advice: {without}")
    for path in paths:
        put(str(path))


def _judged(
    study: Study, max_drop: float | None, criterion: str | None = None
) -> tuple[Advice | None, str]:
    """The advice, or why the study holds too little for it."""
    try:
        return recommend_from(study, max_drop, criterion=criterion), ""
    except EvidenceError as error:
        return None, str(error)


def _drawn(
    study: Study, folder: Path, advice: Advice | None, formats: Sequence[str] = ("png",),
    confidence: float = 95, criterion: str | None = None,
) -> list[Path]:  # fmt: skip
    import matplotlib

    matplotlib.use("Agg")  # files need no window
    from lesion.plots import save_all

    return save_all(
        curves_of(study, confidence=confidence), folder, advice=advice, norms=study.norms,
        anatomy=study.anatomy, criterion=criterion, formats=formats,
    )  # fmt: skip


@app.command()
def merge(studies: options.StudyFiles, out: options.MergedStudy) -> None:
    """Join several studies of one subject, such as one for each half of the layers."""
    check_place(out)
    merge_studies(studies, out)
    say(f"study: {out}")


@app.command()
def demo(
    out: options.Folder = Path("lesion-demo"),
    network: options.DemoNetwork = "demo:resnet20",
    max_drop: options.Aimed = 1.0,
) -> None:
    """Measure a bundled network on bundled images: skip list, rates, study and figures."""
    file = out / "study.lesion"
    make_folder(out)
    with resumable(file):
        from lesion import zoo
        from lesion.goals import Decide
        from lesion.sweeping import Choices

        say(f"{network} on the test images of Fashion-MNIST")
        subject = zoo.open_subject(network, None, "demo:fashion-mnist")
        with prepared(subject, file, Choices(), Decide(Aim(max_drop))) as ready:
            run(ready)
            advice, without = _judged(ready.study, max_drop)
            say(advice.text() if advice else without)
            paths = _drawn(ready.study, out, advice)
    _list(f"study: {file}", [f"figure: {path}" for path in paths])


if __name__ == "__main__":
    main()
