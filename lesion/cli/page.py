"""The command that makes a page of a study: `lesion report`."""

from pathlib import Path

import pandas as pd

from lesion.boundary.texts import numbers
from lesion.cli import options
from lesion.cli.app import app
from lesion.cli.option_groups import check_out
from lesion.cli.output import say
from lesion.errors import LesionError, first_line
from lesion.study.header import named_in
from lesion.study.study import Study


@app.command()
def report(
    study: options.StudyFile,
    out: options.PageOut = Path("report.html"),
    tolerances: options.Tolerances = None,
    class_map: options.NamedClasses = None,
    tradeoff: options.TradeoffTable = None,
    interactions: options.PairsTable = None,
) -> None:
    """Make one HTML page of a study: advice at any tolerance, network, curves, heatmap, tables.

    It opens offline in any browser, and needs nothing but itself.
    """
    from lesion import zoo
    from lesion.reports.page.report import report as make

    check_out(out, study, class_map, tradeoff, interactions)
    tables = {"tradeoff": table_in(tradeoff), "interactions": table_in(interactions)}
    drops = numbers(tolerances, "--tolerances", percent=1)
    with Study.open(study) as opened:
        named = named_in(opened.header.settings)
        names = zoo.output_names(named, opened.header.classes, class_map)
        make(opened, out, drops, names, **tables)
    say(f"page: {out}")


def table_in(path: Path | None) -> pd.DataFrame | None:
    """The table that a command wrote as CSV or JSON. Raises LesionError where there is none."""
    if path is None:
        return None
    try:
        return pd.read_json(path) if path.suffix == ".json" else pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise LesionError(
            f"Expected a table in {path}, as --format csv or json prints it, got: "
            f"{first_line(error)}."
        ) from error
