"""here: one worker in this process, which reads images ahead while it measures."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lesion.sweeps.runners import Task, Work


class Runner:
    """Measures one task after the other."""

    def run(self, tasks: Sequence[Task], open: Callable[[], Work]) -> Iterator[tuple[Task, Any]]:
        """Each task with what it gave."""
        yield from zip(tasks, open()(tasks), strict=True)
