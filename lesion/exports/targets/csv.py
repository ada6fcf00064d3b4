"""CSV: one row a layer, for spreadsheets and `pandas.read_csv(file, comment="#")`."""

import csv
from io import StringIO

from lesion.exports.origin import about
from lesion.exports.targets import Handover
from lesion.harmless import cell, line

SUFFIX = ".csv"
COLUMNS = (
    "layer",
    "unit",
    "kind",
    "stage",
    "channels",
    "kept",
    "rate",
    "drop",
    "high",
    "measured",
    "reason",
    "filters",
)


def content(given: Handover) -> str:
    """A row for each layer of each unit, also of those that stay whole.

    channels, kept, rate, drop, high, measured, reason: of its unit, as in `UnitRate`; filters: the
    numbers of the layer's own filters that stay, with spaces between.  Lines that begin with # say
    of which subject the rates are, and what stands behind them.
    """
    file = StringIO()
    for name, value in about(given.allocation).items():
        file.write(f"# {name}: {_line(value)}\n")
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(COLUMNS)
    for rate in given.allocation.rates:
        for layer, filters in rate.filters.items():
            numbers = " ".join(map(str, filters))
            of_layer = {"layer": layer, "kept": len(rate.kept), "filters": numbers}
            values = (of_layer[c] if c in of_layer else getattr(rate, c) for c in COLUMNS)
            rows.writerow(map(cell, values))
    return file.getvalue()


def _line(value: object) -> str:
    if isinstance(value, dict):
        value = "; ".join(f"{name} {text}" for name, text in value.items())
    return line(" ".join(str(value).split()))
