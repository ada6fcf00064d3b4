"""Runners: where tasks are measured.  One module each, found by its name.

A module in this folder is a runner under its own name; other packages add theirs as entry points:

    [project.entry-points."lesion.runners"]
    mine = "my_package.my_runner"

A module has a class `Runner` that is made without arguments.  Its method `run` is given tasks, in
their order, and what opens a worker for them: a function that can be pickled where the subject can,
to be called once in every process that measures.  It yields each task with what a worker made of
it, in the order of the tasks, because a study's images are recorded in turn.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

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
    """A runner by its name. Raises LesionError where there is none, or it cannot be loaded."""
    made: Runner = plugins.load(name)()
    return made
