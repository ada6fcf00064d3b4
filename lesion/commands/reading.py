"""Commands that read a study: `lesion curves | recommend | compare | plot | merge`."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lesion import options
from lesion.advice import Advice
from lesion.allocating import by_stage
from lesion.allocation import Allocation
from lesion.attended import baseline, check_place, doubt
from lesion.classes import class_drops
from lesion.commands import app
from lesion.commands.rating import kept_in, rated, told
from lesion.commands.records import Rates, check_figures, check_out, taking
from lesion.comparison import compare as compare_in
from lesion.curves import curves as curves_of
from lesion.errors import EvidenceError
from lesion.judging import recommend as recommend_from
from lesion.merging import merge as merge_studies
from lesion.options.values import Format, Guarantee
from lesion.showing import itemise, put, reasons, say, say_where, show, tell
from lesion.study import Study
from lesion.texts import listed


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
    itemise("without numbers:", reasons(found))


@app.command()
@taking(rates=Rates)
def recommend(
    study: options.StudyFile,
    rates: Rates,
    confidence: options.Sure = None,
    guarantee: options.Whose = Guarantee.study,
    out: options.SavedRates = None,
    format: options.As = Format.table,
) -> None:
    """Say which layers to skip, and rates for stages and layers, each with its reason.

    With a budget: the rates that meet it together, chosen to lose least by prediction.
    With --rates: what was saved.
    """
    found: Allocation | None
    check_out(out, study, *rates.inputs)
    with Study.open(study) as opened:
        doubt(opened)
        if rates.bounded or rates.rates:
            told(found := rated(opened, rates), format)
        else:
            rates.check_details()
            advice = recommend_from(
                opened, rates.max_drop, confidence, rates.criterion, guarantee=guarantee.value,
                recovery=rates.recovery,
            )  # fmt: skip
            told(advice, format)
            found = by_stage(opened, advice, rates.recovery) if out else None
    if found is not None:
        kept_in(out, found, format)


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
    check_figures(out, formats)
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
        from lesion.plots import save_recovery

        for path in save_recovery(
            frame, recovery, out, criterion=criterion, formats=listed(formats)
        ):
            say_where(str(path), format)


@app.command()
def plot(
    study: options.StudyFile,
    out: options.Folder,
    formats: options.Formats = "png",
    max_drop: options.MaxDrop = None,
    confidence: options.Confidence = 95,
    criterion: options.Criterion = None,
    rates: options.DrawnRates = None,
) -> None:
    """Draw the curves, a heatmap, the sorted filter norms, and the rates."""
    check_figures(out, formats)
    with Study.open(study) as opened:
        advice, without = judged(opened, max_drop, criterion)
        paths = drawn(opened, out, advice, listed(formats), confidence, criterion)
        if rates is not None:
            from lesion.plots import save_allocation

            allocation = Allocation.load(rates)
            allocation.check(opened.header.subject)
            paths += save_allocation(allocation, out, formats=listed(formats))
    if without:
        tell(f"drawn without advice: {without}")
    for path in paths:
        put(str(path))


def judged(
    study: Study, max_drop: float | None, criterion: str | None = None
) -> tuple[Advice | None, str]:
    """The advice, or why the study holds too little for it."""
    try:
        return recommend_from(study, max_drop, criterion=criterion), ""
    except EvidenceError as error:
        return None, str(error)


def drawn(
    study: Study, folder: Path, advice: Advice | None, formats: Sequence[str] = ("png",),
    confidence: float = 95, criterion: str | None = None,
) -> list[Path]:  # fmt: skip
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
