"""Logs: who else is told how far a sweep is and what came of it.  One module each, by its name.

A module in this folder is a kind of log under its own name; other packages add theirs as entry
points:

    [project.entry-points."lesion.logs"]
    mine = "my_package.my_log"

A module has a class `Log` that is made with the place that stands behind its name, such as the file
in "jsonl:FILE".
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from lesion.errors import LesionError
from lesion.plugins import Plugins

if TYPE_CHECKING:
    import pandas as pd

plugins = Plugins(__name__, "lesion.logs", "a kind of log", "Log")
ANSWERS, AMOUNT = "answers", "amount"  # the axes along which numbers stand


class Log(Protocol):
    """Takes what a sweep tells, in this order."""

    def begin(self, about: Mapping[str, str | float]) -> None:
        """What is measured: network, images, lesions, aim."""

    def numbers(self, numbers: Mapping[str, float], at: int, axis: str) -> None:
        """Numbers by name at a place of an axis: of "answers", how far the sweep is; of "amount"
        (filters in per cent, bits …), what lesions of each layer cost."""

    def table(self, name: str, rows: "pd.DataFrame") -> None:
        """What came out: "curves", a row a lesion, and "layers", a row a layer with its rate."""

    def end(self, whole: bool) -> None:
        """The sweep is over; whole: whether it was not broken off."""


Logs = str | Log | Sequence[str | Log]


def opened(logs: Logs) -> list[Log]:
    """Logs as they are given, or by texts such as "jsonl:FILE".

    Raises LesionError where there is none of that name, or its package is not installed.
    """
    single = isinstance(logs, str) or not isinstance(logs, Sequence)
    several = cast(Sequence[str | Log], [logs] if single else logs)
    return [_opened(log) if isinstance(log, str) else log for log in several]


def check(texts: Sequence[str]) -> None:
    """Raises LesionError for a text that names no log, before any work."""
    for text in texts:
        _named(text)


def _opened(text: str) -> Log:
    kind, place = _named(text)
    made: Log = kind(place)
    return made


def _named(text: str) -> tuple[Any, str]:
    """The class of a log, and its place."""
    name, _, place = text.partition(":")
    if not place:
        raise LesionError(
            f"Expected a log and its place, such as jsonl:FILE, tensorboard:FOLDER, wandb:PROJECT "
            f"or mlflow:EXPERIMENT, got '{text}'."
        )
    return plugins.load(name), place


def missing(package: str) -> LesionError:
    """The error where a log's package is not installed."""
    return LesionError(
        f"Expected {package}, which --log {package}:… needs, but it is not installed; "
        f'run pip install "lesion[{package}]".'
    )


def plain(value: Any) -> Any:
    """A value as JSON has it: what is not known is None."""
    value = value.item() if hasattr(value, "item") else value
    known = value == value and value not in (float("inf"), float("-inf"))
    return value if known is True else None
