"""How the command line prints: results to standard output, all else to standard error."""

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from contextvars import ContextVar
from numbers import Integral
from typing import Any, TextIO

import pandas as pd
from rich.console import Console

from lesion import harmless
from lesion.cli.options.values import Format
from lesion.errors import LesionError
from lesion.words import grouped

OUTPUT, ERRORS = 1, 2  # the numbers of a process's standard streams
GAP = "  "
SHOWN = 3

_results: ContextVar[TextIO | None] = ContextVar("results", default=None)


def open_all() -> None:
    """Streams that the process was started without (`>&-`) lead nowhere from now on.

    Else the first file that is opened would get their number, and what is printed with it.
    """
    for number in (0, OUTPUT, ERRORS):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdout = sys.stdout or os.fdopen(OUTPUT, "w")
    sys.stderr = sys.stderr or os.fdopen(ERRORS, "w")


def keep_results_apart() -> None:
    """From now on libraries that print to the process's output do so to standard error.

    Results are for programs as well, and HiGHS prints a line there whatever it is told
    (https://github.com/jump-dev/HiGHS.jl/issues/312).
    """
    with suppress(AttributeError, OSError, ValueError):  # what stands in for them
        output, errors = sys.stdout.fileno(), sys.stderr.fileno()
        if output == OUTPUT:
            results = os.dup(output)
            os.dup2(errors, output)
            sys.stdout = os.fdopen(results, "w", encoding=sys.stdout.encoding)


@contextmanager
def results_alone() -> Iterator[None]:
    """Within, what Python code of others prints goes to standard error, and results alone out."""
    token = _results.set(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _results.reset(token)


def _output() -> TextIO:
    """Where results go."""
    return _results.get() or sys.stdout


def say(text: str) -> None:
    """A result, line by line; a terminal's lines are broken between words and stay indented."""
    width = terminal_width()
    put("\n".join(row if width is None else _wrapped(row, width) for row in text.split("\n")))


def put(text: str) -> None:
    """A result as it is, but for what steers a terminal. Raises LesionError where it finds no
    room."""
    try:
        print(harmless.lines(text), flush=True, file=_output())
    except BrokenPipeError:  # who reads it has enough
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), _output().fileno())  # or exit tries once more
        raise LesionError(
            f"Expected to write the results to standard output, but {error.strerror}: "
            "make room, or send them elsewhere."
        ) from error


def tell(text: str) -> None:
    """What is no result: a warning, an error, a hint."""
    start = "\n" if text.startswith("\n") else ""
    with suppress(OSError):  # nobody is left to be told
        print(start + harmless.line(text.removeprefix(start)), file=sys.stderr)


def say_where(text: str, format: Format) -> None:
    """Where a file lies: a result for people, which would spoil those for programs."""
    if format is Format.table:
        say(text)
    else:
        tell(text)


def screen() -> Console:
    """The terminal that results go to, for what is drawn anew."""
    return Console(file=_output(), highlight=False)


def terminal_width() -> int | None:
    """The columns of the terminal that reads the results, None where a file or program does."""
    return shutil.get_terminal_size().columns if _output().isatty() else None


def _wrapped(line: str, width: int) -> str:
    """A line broken between words; if it is indented, what follows its first row is further in.

    >>> print(_wrapped("  7 conv: first of stage", 20))
      7 conv: first of
        stage
    """
    wrapper = textwrap.TextWrapper(max(width, 20), break_long_words=False, break_on_hyphens=False)
    if line.startswith(" "):
        wrapper.subsequent_indent = "    "
    return wrapper.fill(line)


def show(
    frame: pd.DataFrame,
    format: Format,
    less: Sequence[str] = (),
    titles: Mapping[str, str] | None = None,
) -> None:
    """A table as CSV, as JSON, or in aligned columns for people.

    less: the columns that a narrow terminal goes without, the first first
    """
    if format is Format.csv:
        put(frame.map(harmless.cell).to_csv(index=False).rstrip("\n"))
    elif format is Format.json:
        put(frame.to_json(orient="records", indent=2, double_precision=15))
    else:
        _show_aligned(frame, less, titles or {})


def _show_aligned(frame: pd.DataFrame, less: Sequence[str], titles: Mapping[str, str]) -> None:
    cells: dict[str, list[str]] = {}
    right = set()
    for name in map(str, frame.columns):
        title = titles.get(name, name)
        cells[title] = [_cell(value, name) for value in frame[name]]
        if pd.api.types.is_numeric_dtype(frame[name]):
            right.add(title)
    left_out = _narrowed(cells, less, terminal_width())
    put("\n".join(table_lines(cells, right)))
    if left_out:
        tell(f"not shown for lack of room: {', '.join(left_out)} (--format csv has everything)")


def _narrowed(cells: dict[str, list[str]], less: Sequence[str], width: int | None) -> list[str]:
    """Takes columns out until the table fits; their names."""
    left_out = []
    for name in less:
        widest = sum(max(map(len, [title, *rows])) + len(GAP) for title, rows in cells.items())
        if width is not None and widest - len(GAP) > width and name in cells:
            del cells[name]
            left_out.append(name)
    return left_out


def table_lines(cells: Mapping[str, Sequence[str]], right: set[str]) -> Iterator[str]:
    """Titles and rows in aligned columns; those named in `right` are flush right.

    >>> print("\\n".join(table_lines({"layer": ["conv1", "fc"], "MACs": ["9", "10"]}, {"MACs"})))
    layer  MACs
    conv1     9
    fc       10
    """
    columns = []
    for title, rows in cells.items():
        width = max(map(len, [title, *rows]))
        pad = str.rjust if title in right else str.ljust
        columns.append([pad(text, width) for text in (title, *rows)])
    for row in zip(*columns, strict=True):
        yield GAP.join(row).rstrip()


def _cell(value: Any, column: str = "") -> str:
    """A value in a table; nothing where there is none, an amount as it was asked for.

    >>> _cell(1234567), _cell(0.5, "amount"), _cell(float("nan")), _cell(12.3456)
    ('1 234 567', '0.5', '', '12.35')
    """
    if pd.isna(value):
        return ""
    if column == "amount":
        return f"{value:g}"
    if isinstance(value, float):
        return f"{round(value, 2) + 0.0:.2f}"
    return grouped(int(value)) if isinstance(value, Integral) else harmless.name(str(value))


def itemise(title: str, below: Sequence[str]) -> None:
    """A title and the lines below it; nothing where there are none."""
    for text in (title, *map(harmless.line, below)) if below else ():
        say(text)


def reasons(frame: pd.DataFrame) -> list[str]:
    """Why rows have no numbers: one line a reason, with the first layers that it holds for."""
    lines = []
    for reason, rows in frame[frame["reason"] != ""].groupby("reason", sort=False):
        names = list(dict.fromkeys(rows["layer"]))
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        lines.append(f"  {', '.join(names[:SHOWN])}{more}: {reason}")
    return lines
