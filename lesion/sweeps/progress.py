"""How far a sweep is, and who is told: a function of the caller's, a bar, logs, or nobody."""

import sys
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lesion.study.study import Study


@dataclass(frozen=True)
class Progress:
    """How far a sweep is: lesioned answers given, and how many it takes in all, about."""

    done: int
    total: int


Told = Callable[[Progress], None]


def exhausted(steps: Iterable[Progress], study: Study, progress: bool | Told | None) -> Study:
    """The study once all steps are taken; where one of them raises they are closed, so that the
    network is as it was although the error is held, and then the study.

    progress: what is called with each step, or whether there is a bar, see `telling`
    """
    try:
        with telling(progress) as tell:
            for step in steps:
                tell(step)
    except BaseException:
        if isinstance(steps, Generator):
            steps.close()
        study.close()
        raise
    return study


@contextmanager
def telling(progress: bool | Told | None) -> Iterator[Told]:
    """What to call with each step: a function as it is given; for True a bar, where somebody sees
    it; for False or None nothing."""
    if callable(progress):
        yield progress
    elif progress and seen():
        with _bar() as tell:
            yield tell
    else:
        yield lambda step: None


def seen() -> bool:
    """Whether somebody sees a bar: standard error is a terminal, or this is a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    notebook = "IPKernelApp" in getattr(shell, "config", {})
    return notebook or (sys.stderr is not None and sys.stderr.isatty())


@contextmanager
def _bar() -> Iterator[Told]:
    """A bar in the notebook or on standard error, whose end moves as the forecast does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a notebook without widgets gets the bar as text
        from tqdm.auto import tqdm
    with tqdm(desc="measuring", unit=" answers", smoothing=0.05) as bar:

        def tell(step: Progress) -> None:
            bar.total = max(step.done, step.total)
            bar.update(step.done - bar.n)

        yield tell
