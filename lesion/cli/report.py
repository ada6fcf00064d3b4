"""Commands that read a study: `lesion curves | recommend | compare | plot | merge`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from lesion.boundary.texts import listed
from lesion.cli import options
from lesion.cli.app import app
from lesion.cli.option_groups import Rates, check_figures, check_out, taking
from lesion.cli.options.values import Format, Guarantee
from lesion.cli.output import itemise, put, reasons, say, say_where, show, tell
from lesion.cli.progress import baseline, check_place, doubt
from lesion.cli.rates import print_rates, rated, save_rates
from lesion.errors import EvidenceError
from lesion.rates.allocate import by_stage
from lesion.rates.allocation import Allocation
from lesion.results.advice import Advice
from lesion.results.advise import advise
from lesion.results.compare import compare as compare_in
from lesion.results.curves import curves as curves_of
from lesion.results.reading import DAMAGE, Reading
from lesion.study.merge import merge as merge_studies
from lesion.study.study import Study
from lesion.words import UNMEASURED

PLACE = ("layer", "number", "stage", "kind")
NUMBERS = ("images", "baseline", "accuracy", "drop", "low", "high")
SAVED = ("bytes_saved", "bops_saved")
UNNEEDED = f"{UNMEASURED}; no verdict needed it (--full measures all), or the sweep ended before"
LESS = ("stage", "baseline", "number", "images", "kind", "bops_saved")


@app.command()
def curves(
    study: options.StudyFile,
    format: options.As = Format.table,
    confidence: options.Confidence = 95,
    by_class: options.ByClass = False,
) -> None:
    """Show accuracy and drop of every layer at every ratio, with paired intervals."""
    with Study.open(study) as opened:
        frame = curves_of(opened, confidence=confidence, by_class=by_class)
        summary = "" if by_class else baseline(opened)
    if by_class:
        show(frame, format)
    elif format is Format.table:
        _show_curves(frame)
        say(summary)
    else:
        show(frame, format)


def _show_curves(frame: pd.DataFrame) -> None:
    """The rows with numbers as a table, below it why the others have none."""
    table = frame[frame["reason"] == ""]
    if len(table):
        removed = table["pruned"].astype(str) + "/" + table["channels"].astype(str)
        table = table.assign(removed=removed.where(table["damage"] == DAMAGE, ""))
        names = ("damage", "criterion", "recovery", "rounding", "seed")
        varied = [name for name in names if table[name].nunique() > 1]
        no_filters = not (table["damage"] == DAMAGE).any()  # a single one, which is no longer told
        what = ["damage", "amount"] if no_filters else ["amount", "removed"]
        if no_filters or table["damage"].nunique() > 1:  # of filters alone the ratio tells it
            what += SAVED
        what += ["kendall_tau"] if "kendall_tau" in table else []
        columns = dict.fromkeys([*PLACE, *varied, *what, *NUMBERS])
        show(table[list(columns)], Format.table, LESS)
    frame = frame.assign(reason=frame["reason"].replace(UNMEASURED, UNNEEDED))
    plain = frame["damage"].isin(["", DAMAGE]) | (frame["reason"] == "")
    by_damage = frame["reason"].where(plain, frame["damage"] + ": " + frame["reason"])
    itemise("without numbers:", reasons(frame.assign(reason=by_damage)))


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
    check_out(out, study, *rates.inputs)
    with Study.open(study) as opened:
        doubt(opened)
        if rates.bounded or rates.rates:
            allocation, _ = rated(opened, rates)
            print_rates(allocation, format)
            save_rates(out, allocation, format)
        else:
            rates.check_details()
            reading = rates.reading(opened)
            reading = reading.asking(rates.max_drop, confidence, guarantee.value)
            advice = advise(reading)
            print_rates(advice, format)
            if out is not None:
                save_rates(out, by_stage(reading, advice), format)


@app.command()
def compare(
    study: options.StudyFile,
    after: options.Compared = None,
    ratio: options.AtRatio = None,
    criterion: options.Criterion = None,
    damage: options.Damage = None,
    out: options.AlsoDrawn = None,
    formats: options.Formats = "png",
    format: options.As = Format.table,
) -> None:
    """Say how recovery changes the ranking of layers: drops one-shot beside drops after it."""
    check_figures(out, formats)
    with Study.open(study) as opened:
        after = after or next(iter(opened.recoveries), "bn")
        comparison = compare_in(opened, after, ratio, criterion, damage=damage)
        frame = curves_of(opened)
    if format is Format.table:
        show(comparison.layers, format)
        say(comparison.text())
    else:
        show(comparison.cells, format)
    if out is not None:
        from lesion.reports.plots.save import save_recovery

        paths = save_recovery(
            frame,
            after,
            out,
            criterion=criterion,
            damage=comparison.damage,
            formats=listed(formats),
        )
        for path in paths:
            say_where(str(path), format)


@app.command()
def plot(
    study: options.StudyFile,
    out: options.Folder,
    formats: options.Formats = "png",
    max_drop: options.MaxDrop = None,
    confidence: options.Confidence = 95,
    criterion: options.Criterion = None,
    damage: options.Damage = None,
    rates: options.DrawnRates = None,
) -> None:
    """Draw the curves, a heatmap, the sorted filter norms, and the rates.

    Of several kinds of damage each, and all of them side by side by the bytes that they save.
    """
    check_figures(out, formats)
    with Study.open(study) as opened:
        named = [damage] if damage else damages(opened)
        judgements = {name: judged(opened, max_drop, criterion, name) for name in named}
        advice = {name: advice for name, (advice, _) in judgements.items()}
        paths = drawn(opened, out, advice, listed(formats), confidence, criterion)
        if len(named) > 1:
            paths += beside(opened, out, max_drop, listed(formats), confidence)
        if rates is not None:
            from lesion.reports.plots.save import save_allocation

            allocation = Allocation.load(rates)
            allocation.check(opened.header.subject)
            paths += save_allocation(allocation, out, formats=listed(formats))
    for _, why in judgements.values():
        if why:
            tell(f"drawn without advice: {why}")
    for path in paths:
        put(str(path))


def beside(
    study: Study, folder: Path, max_drop: float | None, formats: Sequence[str], confidence: float
) -> list[Path]:
    """The pictures of several kinds of damage, where they share layers."""
    from lesion.reports.plots.save import save_damages

    tolerance = Reading.of(study).aim.max_drop if max_drop is None else max_drop
    try:
        frame = curves_of(study, confidence=confidence)
        return save_damages(
            frame,
            folder,
            max_drop=tolerance,
            study=study,
            confidence=confidence,
            formats=formats,
        )
    except EvidenceError:  # evaluations without intervals, or damages of other layers
        return []


def damages(study: Study) -> list[str]:
    """The kinds of damage that there are pictures of."""
    return list(dict.fromkeys(lesion.damage for lesion in study.lesions)) or [DAMAGE]


def judged(
    study: Study, max_drop: float | None, criterion: str | None = None, damage: str | None = None
) -> tuple[Advice | None, str]:
    """The advice, or why the study holds too little for it."""
    try:
        reading = Reading.of(study, criterion, damage=damage)
        return advise(reading.asking(max_drop, None)), ""
    except EvidenceError as error:
        return None, str(error)


def drawn(
    study: Study,
    folder: Path,
    advice: Mapping[str, Advice | None],
    formats: Sequence[str] = ("png",),
    confidence: float = 95,
    criterion: str | None = None,
) -> list[Path]:
    """The pictures of each kind of damage, with the advice of it."""
    from lesion.reports.plots.save import save_all

    frame = curves_of(study, confidence=confidence)
    paths = []
    for damage, of_damage in advice.items():
        paths += save_all(
            frame,
            folder,
            advice=of_damage,
            norms=study.norms,
            anatomy=study.anatomy,
            criterion=criterion,
            damage=damage,
            formats=formats,
        )
    return paths


@app.command()
def merge(studies: options.StudyFiles, out: options.MergedStudy) -> None:
    """Join several studies of one subject, such as one for each half of the layers."""
    check_place(out)
    merge_studies(studies, out)
    say(f"study: {out}")
