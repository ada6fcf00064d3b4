"""The command line: `lesion layers | sweep | evaluate | curves | recommend | compare | plot | …`.

What needs torch or matplotlib is imported in the command that uses it, so that help and the
commands that read a study are quick.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated

import typer
from typer.models import CommandInfo

from lesion import __version__
from lesion.cli import criteria, export, joint, page, rates, report, sweep, watch
from lesion.cli.app import app
from lesion.cli.output import keep_results_apart, open_all, put, results_alone, tell
from lesion.cli.progress import INTERRUPTED
from lesion.errors import LesionError, staying

# they register their commands
MODULES = (criteria, export, joint, page, rates, report, sweep, watch)
PANELS = {
    "From a network to a skip list": (
        "demo",
        "layers",
        "sweep",
        "watch",
        "recommend",
        "curves",
        "plot",
        "report",
    ),
    "Rates within a budget, and the smaller network": (
        "refine",
        "verify",
        "export",
        "apply",
        "tradeoff",
        "interactions",
        "calibrate",
        "time",
    ),
    "More": ("criteria", "evaluate", "compare", "merge"),
}
_PLACES = {name: panel for panel, names in PANELS.items() for name in names}


def _name(command: CommandInfo) -> str:
    assert command.callback is not None
    return command.callback.__name__


app.registered_commands.sort(key=lambda command: list(_PLACES).index(_name(command)))
for _command in app.registered_commands:
    _command.rich_help_panel = _PLACES[_name(_command)]


def main() -> None:
    """Run the command line; an error is one sentence and exit status 1."""
    open_all()
    keep_results_apart()
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # not every stream that may stand in for them has it
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        group = typer.main.get_command(app)
        for command in group.commands.values():  # type: ignore[attr-defined]
            command.callback = results_alone()(
                _stopping()(staying(BaseException)(command.callback))
            )
        group(prog_name="lesion")
    except LesionError as error:
        tell(f"lesion: {error}")
        sys.exit(1)


@contextmanager
def _stopping() -> Iterator[None]:
    """An interrupt is told, where a command does not know better what is kept."""
    try:
        yield
    except KeyboardInterrupt:
        tell("\nlesion: stopped; nothing was written by this command.")
        raise typer.Exit(INTERRUPTED) from None


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
