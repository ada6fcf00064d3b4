"""The command line: `lesion layers | sweep | curves | recommend | plot | merge | demo`."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from lesion import memory as memory_
from lesion import zoo
from lesion.anatomy import Anatomy
from lesion.cost import cost
from lesion.curves import curves as curves_of
from lesion.dissect import find_layers
from lesion.errors import LesionError
from lesion.identity import HOLDOUT
from lesion.judging import recommend as recommend_from
from lesion.merging import merge as merge_studies
from lesion.plan import RATIOS
from lesion.plots import save_all
from lesion.study import Study
from lesion.subject import Subject
from lesion.sweeping import Choices, Sweep, placed, prepare

app = typer.Typer(
    help="Which layers of a convolutional network can be pruned, and how far.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(width=None if sys.stdout.isatty() else 160, soft_wrap=True, highlight=False)
errors = Console(stderr=True, soft_wrap=True, highlight=False)
INTERRUPTED = 130
DEMO_SECONDS = 120


class Format(str, Enum):
    """How a table is printed."""

    table = "table"
    csv = "csv"
    json = "json"


class Units(str, Enum):
    """What is cut."""

    free = "free"
    all = "all"


NetworkOption = Annotated[str, typer.Option(help=zoo.NETWORK_FORMS)]
WeightsOption = Annotated[
    str | None,
    typer.Option(help="safetensors or state_dict file; default, or the name of an enum; random"),
]
DataOption = Annotated[str, typer.Option(help=zoo.DATA_FORMS)]
ResizeOption = Annotated[int | None, typer.Option(help="shorter side of the images, in pixels")]
CropOption = Annotated[int | None, typer.Option(help="centre crop, in pixels")]
MeanOption = Annotated[str | None, typer.Option(help="one number a channel, such as 0.5,0.5,0.5")]
StdOption = Annotated[str | None, typer.Option(help="one number a channel")]
ClassesOption = Annotated[int | None, typer.Option(help="outputs of a named network", min=1)]
WorkersOption = Annotated[int | None, typer.Option(help="processes that read images", min=0)]
DeviceOption = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; cuda where there is")]
SeedOption = Annotated[int, typer.Option(help="of the images' order and all that is drawn", min=0)]
StudyArgument = Annotated[Path, typer.Argument(help="study file", metavar="STUDY")]
FormatOption = Annotated[Format, typer.Option("--format", help="how to print it")]
MaxDropOption = Annotated[float, typer.Option(help="tolerated drop in percentage points of top-1")]
ConfidenceOption = Annotated[float, typer.Option(help="of the intervals, in per cent")]
CriterionOption = Annotated[str | None, typer.Option(help="which of the study's criteria")]


def main() -> None:
    """Run the command line; an error is one sentence and exit status 1."""
    try:
        app()
    except LesionError as error:
        errors.print(f"lesion: {error}", markup=False)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)


@app.command()
def layers(
    network: NetworkOption,
    data: DataOption,
    weights: WeightsOption = None,
    resize: ResizeOption = None,
    crop: CropOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    classes: ClassesOption = None,
    format: FormatOption = Format.table,
) -> None:
    """The anatomy: every layer, its stage, block, unit, MACs and parameters."""
    subject = zoo.open_subject(
        network, weights, data, resize=resize, crop=crop, mean=_numbers(mean, "--mean"),
        std=_numbers(std, "--std"), classes=classes,
    )  # fmt: skip
    anatomy = find_layers(subject.network, subject.example, subject.adapter)
    _show(anatomy.table(), format, {"macs": "MACs"})
    if format is Format.table:
        _summary(anatomy)


def _summary(anatomy: Anatomy) -> None:
    own = cost(anatomy)
    kinds = [unit.kind for unit in anatomy.units]
    count = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("free", "coupled", "tied"))
    console.print(f"{len(anatomy.layers)} layers in {len(kinds)} units: {count}.")
    console.print(
        f"{own.macs:,} MACs an image; {own.parameters:,} parameters, "
        f"{own.weights:,} of them weights of these layers."
    )
    for note in anatomy.notes:
        console.print(f"note: {note}", markup=False)
    if anatomy.whole:
        console.print(f"note: measured by whole forward passes: {anatomy.whole}", markup=False)


@app.command()
def sweep(
    network: NetworkOption,
    data: DataOption,
    out: Annotated[Path, typer.Option("-o", "--out", help="study file, new or to go on with")],
    weights: WeightsOption = None,
    ratios: Annotated[str, typer.Option(help="pruning ratios")] = ",".join(map(str, RATIOS)),
    criterion: Annotated[str, typer.Option(help="which filters go first")] = "l1",
    layers: Annotated[
        str | None, typer.Option(help="patterns of layer names, such as layer3.*")
    ] = None,
    units: Annotated[
        Units, typer.Option(help="free units and the stem, or coupled ones too")
    ] = Units.free,
    limit: Annotated[int | None, typer.Option(help="the first so many images of the order")] = None,
    seed: SeedOption = 0,
    holdout: Annotated[float, typer.Option(help="share of images kept back")] = HOLDOUT,
    rounding: Annotated[str, typer.Option(help="floor-kept or nearest")] = "floor-kept",
    memory: Annotated[
        str | None, typer.Option(help="such as 4G; default: half of the free")
    ] = None,
    device: DeviceOption = None,
    resize: ResizeOption = None,
    crop: CropOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    classes: ClassesOption = None,
    workers: WorkersOption = None,
) -> None:
    """Measure: prune each unit on its own at every ratio.  Run it again to go on."""
    choices = Choices(
        ratios=_numbers(ratios, "--ratios") or (), criterion=criterion, units=units.value,
        layers=tuple(layers.split(",")) if layers else (), rounding=rounding, seed=seed,
        holdout=holdout,
    )  # fmt: skip
    choices.check()
    budget = memory_.parse(memory) if memory else None
    subject = zoo.open_subject(
        network, weights, data, resize=resize, crop=crop, mean=_numbers(mean, "--mean"),
        std=_numbers(std, "--std"), classes=classes, workers=workers, seed=seed,
    )  # fmt: skip
    console.print(f"preprocessing: {subject.preprocessing or 'none'}", markup=False)
    with _sweep(subject, out, choices, limit, budget, device) as ready:
        _announce(ready)
        _run(ready, float("inf"))
        console.print(f"written to {out}; next: lesion recommend {out}", markup=False)


@contextmanager
def _sweep(
    subject: Subject, out: Path, choices: Choices, limit: int | None, budget: int | None,
    device: str | None,
) -> Iterator[Sweep]:  # fmt: skip
    """A sweep ready to run; an interrupt says how to go on."""
    with placed(subject.network, device or _best_device()):
        ready = prepare(subject, out, choices, limit=limit, budget=budget)
        try:
            yield ready
        except KeyboardInterrupt:
            errors.print(f"\nstopped; what is measured is in {out}: run the same command to go on")
            raise typer.Exit(INTERRUPTED) from None
        finally:
            ready.study.close()


def _best_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _announce(ready: Sweep) -> None:
    for warning in ready.warnings:
        errors.print(f"warning: {warning}", markup=False)
    anatomy = ready.study.anatomy
    if anatomy.whole:
        errors.print(f"warning: measured by whole forward passes: {anatomy.whole}", markup=False)
    console.print(
        f"{len(ready.lesions)} lesions on {ready.images} of {len(ready.study.header.order)} "
        f"images ({len(ready.study.header.holdout)} kept back), {ready.batch} at a time"
    )


def _run(ready: Sweep, seconds: float) -> None:
    """Runs the sweep with a progress bar, at most about so many seconds."""
    start, longest = time.monotonic(), 0.0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Bar(*columns, console=errors) as bar:
        task = bar.add_task("lesion-images", total=None)
        before = start
        for step in ready:
            bar.update(task, completed=step.done, total=step.total)
            now = time.monotonic()
            longest, before = max(longest, now - before), now
            if now - start + longest > seconds:
                break


@app.command()
def curves(
    study: StudyArgument,
    format: FormatOption = Format.table,
    confidence: ConfidenceOption = 95,
) -> None:
    """Accuracy and drop of every lesion, with paired intervals."""
    with Study.open(study) as opened:
        found = curves_of(opened, confidence=confidence)
    if format is not Format.table:
        _show(found, format)
        return
    columns = ["layer", "number", "stage", "kind", "ratio", "pruned", "channels", "images",
               "baseline", "accuracy", "drop", "low", "high", "reason"]  # fmt: skip
    _show(found[columns], format)


@app.command()
def recommend(
    study: StudyArgument,
    max_drop: MaxDropOption = 1.0,
    confidence: ConfidenceOption = 95,
    criterion: CriterionOption = None,
    format: Annotated[
        Format, typer.Option("--format", help="table (in words) or json")
    ] = Format.table,
) -> None:
    """Sensitive layers, skip list, rates by stage and by layer, each with its reason."""
    with Study.open(study) as opened:
        advice = recommend_from(opened, max_drop, confidence, criterion)
    if format is Format.json:
        print(json.dumps(advice.to_dict(), indent=2))
    elif format is Format.csv:
        _show(advice.table(), format)
    else:
        console.print(advice.text(), markup=False)


@app.command()
def plot(
    study: StudyArgument,
    out: Annotated[Path, typer.Option("-o", "--out", help="folder for the figures")],
    formats: Annotated[str, typer.Option("--formats", help="png, svg, pdf")] = "png",
    max_drop: MaxDropOption = 1.0,
    confidence: ConfidenceOption = 95,
    criterion: CriterionOption = None,
) -> None:
    """Figures: sensitivity curves, heatmap, sorted filter norms, rates."""
    with Study.open(study) as opened:
        for path in _figures(opened, out, formats.split(","), max_drop, confidence, criterion):
            console.print(str(path), markup=False)


def _figures(
    study: Study, folder: Path, formats: list[str], max_drop: float, confidence: float,
    criterion: str | None,
) -> list[Path]:  # fmt: skip
    try:
        advice = recommend_from(study, max_drop, confidence, criterion)
    except LesionError as error:
        errors.print(f"figures without advice: {error}", markup=False)
        advice = None
    return save_all(
        curves_of(study, confidence=confidence), folder, advice=advice, norms=study.norms,
        anatomy=study.anatomy, criterion=criterion, formats=formats,
    )  # fmt: skip


@app.command()
def merge(
    studies: Annotated[list[Path], typer.Argument(help="study files of one subject")],
    out: Annotated[Path, typer.Option("-o", "--out", help="new study file")],
) -> None:
    """Several studies of one subject as one."""
    merge_studies(studies, out)
    console.print(f"written to {out}", markup=False)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="folder to write to")] = Path(
        "lesion-demo"
    ),
    network: Annotated[str, typer.Option(help="demo:resnet20 or demo:resnet56")] = "demo:resnet20",
    seconds: Annotated[float, typer.Option(help="how long to measure", min=1)] = DEMO_SECONDS,
    max_drop: MaxDropOption = 1.0,
) -> None:
    """A bundled network on bundled images: sweep, skip list, rates and figures."""
    file = out / "study.lesion"
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LesionError(f"Expected a folder to write to, but {out} is none: {error}.") from error
    subject = zoo.open_subject(network, None, "demo:fashion-mnist")
    with _sweep(subject, file, Choices(), None, None, None) as ready:
        _announce(ready)
        _run(ready, seconds)
        measured, there = ready.study.images(), len(ready.study.header.order)
        console.print(f"{network}: measured on {measured} of {there} images in the time given")
        console.print(recommend_from(ready.study, max_drop).text(), markup=False)
        paths = _figures(ready.study, out, ["png"], max_drop, 95, None)
    console.print(f"study: {file}", markup=False)
    for path in paths:
        console.print(f"figure: {path}", markup=False)
    if measured < there:
        console.print("run it again to measure more images; the intervals get narrower")


def _numbers(text: str | None, option: str) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise LesionError(
            f"Expected numbers with commas between them for {option}, got '{text}'; "
            "such as 0.1,0.5."
        ) from error


def _show(frame: pd.DataFrame, format: Format, names: dict[str, str] | None = None) -> None:
    if format is Format.csv:
        print(frame.to_csv(index=False), end="")
    elif format is Format.json:
        print(frame.to_json(orient="records", indent=2))
    else:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in frame.columns:
            right = pd.api.types.is_numeric_dtype(frame[column])
            title = (names or {}).get(column, column)
            table.add_column(title, justify="right" if right else "left", overflow="fold")
        for row in frame.itertuples(index=False):
            table.add_row(*map(_cell, row))
        console.print(table)


def _cell(value: Any) -> str:
    """A value in a table; nothing where there is none.

    >>> _cell(1234567), _cell(0.5), _cell(float("nan")), _cell(12.3456)
    ('1,234,567', '0.5', '', '12.35')
    """
    if pd.isna(value):
        return ""
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    main()
