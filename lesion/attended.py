"""A sweep that somebody watches: announced, with a progress bar, and stopped by Ctrl-C."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lesion.errors import LesionError
from lesion.showing import say, tell
from lesion.study import Study
from lesion.wording import grouped

if TYPE_CHECKING:
    from lesion.subject import Subject
    from lesion.sweeping import Choices, Sweep

INTERRUPTED = 130
BY_CHANCE = 0.1  # of the way from guessing to perfection


def check_place(out: Path) -> None:
    """Says before all work where no study can be written."""
    if out.is_dir():
        raise LesionError(
            f"Expected a study file, but {out} is a folder; name a file in it, such as "
            f"{out / 'study.lesion'}."
        )
    if not out.parent.is_dir():
        raise LesionError(
            f"Expected a folder to write {out.name} to, but there is no folder {out.parent}; "
            "make it, or choose another place."
        )


def make_folder(folder: Path) -> None:
    """The folder is there, or a LesionError says why it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LesionError(
            f"Expected a folder to write to, but {folder} cannot be made ({error.strerror}): "
            "choose another place with -o."
        ) from error


@contextmanager
def resumable(out: Path) -> Iterator[None]:
    """An interrupt is no traceback, but says what is kept and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        kept = f"what is measured is in {out}" if out.exists() else "nothing is measured yet"
        tell(f"\nlesion: stopped; {kept}: run the same command to go on.")
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def prepared(
    subject: "Subject", out: Path, choices: "Choices", limit: int | None = None,
    budget: int | None = None, device: str | None = None,
) -> Iterator["Sweep"]:  # fmt: skip
    """A sweep ready to run, announced; its study is closed at the end."""
    from lesion.sweeping import placed, prepare

    with placed(subject.network, device or _best_device()):
        ready = prepare(subject, out, choices, limit=limit, budget=budget)
        try:
            _announce(ready)
            yield ready
        finally:
            ready.study.close()


def _best_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _announce(ready: "Sweep") -> None:
    header = ready.study.header
    for warning in ready.warnings:
        tell(f"warning: {warning}")
    if header.anatomy.whole:
        tell(f"warning: measured by whole forward passes: {header.anatomy.whole}")
    if not ready.lesions:
        tell(
            f"warning: nothing of this can be measured; `lesion curves {ready.study.path}` says why"
        )
    of = f" of {grouped(len(header.order))}" if ready.images < len(header.order) else ""
    say(
        f"{len(ready.lesions)} lesions on {grouped(ready.images)}{of} images, {ready.batch} at a "
        f"time; {grouped(len(header.holdout))} more are kept back"
    )


def run(ready: "Sweep", seconds: float = float("inf")) -> None:
    """Runs the sweep with a progress bar, at most about so many seconds."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    columns = (TextColumn("measuring"), BarColumn(), TaskProgressColumn(), TimeLeft())
    start = before = time.monotonic()
    longest = 0.0
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=120) as bar:
        task = bar.add_task("", total=None)
        for step in ready:
            now = time.monotonic()
            share = max(step.done / step.total, (now - start) / seconds)
            bar.update(task, completed=share, total=1)
            if not longest:
                doubt(ready.study)
            longest, before = max(longest, now - before), now
            if now - start + longest > seconds:
                break
        bar.update(task, completed=1, total=1, visible=longest > 0)
    if ready.lesions and not longest:
        tell("nothing new to measure")


def doubt(study: Study) -> None:
    """Warns where the intact network hardly does better than guessing."""
    right, guess = study.intact().outcomes.top1, 1 / study.header.classes
    if right.mean() < guess + BY_CHANCE * (1 - guess):
        tell(
            f"warning: the intact network is right on {100 * right.mean():.1f} % of "
            f"{grouped(len(right))} images, hardly more than by chance ({100 * guess:.3g} %): "
            "check that the labels count as in its training (class folders count by alphabet), "
            "and the weights and the preprocessing"
        )


def baseline(study: Study) -> str:
    """How good the intact network is, in words."""
    right = study.intact().outcomes.top1
    if not len(right):
        return "nothing is measured yet"
    images = grouped(len(right))
    return f"the intact network: {100 * right.mean():.2f} % top-1 on {images} images"
