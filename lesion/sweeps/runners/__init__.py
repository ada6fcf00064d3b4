"""Runners: where tasks are measured.  One module each, found by its name.

A module in this folder is a runner under its own name; other packages add theirs as entry points:

    [project.entry-points."lesion.runners"]
    mine = "my_package.my_runner"

A module has a class `Runner` that is made without arguments.  Its method `run` is given tasks, in
their order, and what opens a worker for them: a function that can be pickled where the subject can,
to be called once in every process that measures.  It yields each task with what a worker made of
it, in the order of the tasks, because a study's images are recorded in turn.  Where it has a method
`close`, that ends its workers.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar

from lesion.errors import LesionError, first_line
from lesion.plugins import Plugins

Task = TypeVar("Task")
Work = Callable[[Sequence[Any]], Iterator[Any]]
plugins = Plugins(__name__, "lesion.runners", "a runner", "Runner")


class Runner(Protocol):
    """Hands tasks to workers."""

    def run(self, tasks: Sequence[Task], open: Callable[[], Work]) -> Iterator[tuple[Task, Any]]:
        """Each task with what it gave, in their order."""


def names() -> list[str]:
    """The runners there are."""
    return plugins.names()


def runner(name: str) -> Runner:
    """A runner by its name, with options such as "ray:workers=4,gpus=1,address=auto".

    Raises LesionError where there is none, it cannot be loaded, or does not take the options.
    """
    kind, _, options = name.partition(":")
    made = plugins.load(kind)
    try:
        runner: Runner = made(**dict(map(_option, options.split(",") if options else ())))
    except TypeError as error:
        raise LesionError(
            f"Expected options that the runner {kind} takes, got '{options}' "
            f"({first_line(error)}); leave out what it does not know."
        ) from error
    return runner


def _option(text: str) -> tuple[str, Any]:
    """A name and its value, a number where it is one."""
    name, _, value = text.partition("=")
    for number in (int, float):
        with suppress(ValueError):
            return name, number(value)
    return name, value


@contextmanager
def at_work(given: str | Runner) -> Iterator[Runner]:
    """A runner by its name, whose workers end afterwards; an object of the user's as it is."""
    if not isinstance(given, str):
        yield given
        return
    made = runner(given)
    try:
        yield made
    finally:
        close = getattr(made, "close", None)
        if close:
            close()
