"""Looking on while another process measures: `lesion watch`."""

from collections import deque
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

from lesion.cli import options
from lesion.cli.app import app
from lesion.cli.output import put, screen
from lesion.study.study import Study

if TYPE_CHECKING:
    from lesion.reports.screen import View

LOOKS = 6  # of which the rate is taken
SHARE = 9  # times as long as a look took it waits, so that it takes little from the sweep


@app.command()
def watch(study: options.StudyFile, once: options.Once = False, every: options.Every = 2.0) -> None:
    """Show how far a sweep is that another process makes, and what is certain by now.

    It looks again until nothing more is needed, or until Ctrl-C; where no terminal shows it, and
    with --once, it looks once. The file is read in one go and never kept locked, so that the sweep
    goes on.
    """
    from lesion.reports.screen import lines

    terminal = screen()
    if once or not terminal.is_terminal:
        put("\n".join(lines(look(study))))
        return
    from rich.live import Live
    from rich.text import Text

    before, paces = None, deque[tuple[float, int]](maxlen=LOOKS)
    try:
        with Live(console=terminal, auto_refresh=False) as live:
            while True:
                start = monotonic()
                seen = look(study)
                paces.append((start, seen.answers))
                shown = lines(seen, pace(paces), terminal.height - 1)
                live.update(Text("\n".join(shown), no_wrap=True, overflow="ellipsis"), refresh=True)
                if seen.over(before):
                    return
                before = seen
                sleep(max(every, SHARE * (monotonic() - start)))
    except KeyboardInterrupt:
        return


def look(path: Path) -> "View":
    """What a study holds at this moment."""
    from lesion.reports.screen import view

    with Study.snapshot(path) as study:
        return view(study)


def pace(looks: "deque[tuple[float, int]]") -> float | None:
    """Answers a second between the first look and the last, None of fewer than two."""
    (start, first), (end, last) = looks[0], looks[-1]
    return (last - first) / (end - start) if end > start else None
