"""A sweep that somebody watches: announced, with a progress bar, and stopped by Ctrl-C."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lesion.boundary.files import check_folder_of
from lesion.cli.output import say, tell
from lesion.errors import LesionError
from lesion.results.reading import column_of
from lesion.study.study import Study
from lesion.words import duration, grouped, rounded, scored

if TYPE_CHECKING:
    from torch import nn

    from lesion.subject.subject import Subject
    from lesion.sweeps.choices import Choices
    from lesion.sweeps.evaluation import Evaluate
    from lesion.sweeps.goals import Goal
    from lesion.sweeps.logs import Log
    from lesion.sweeps.loop import Sweep
    from lesion.sweeps.whole_network import WholeSweep

INTERRUPTED = 130
BY_CHANCE = 0.1  # of the way from guessing to perfection


def check_place(out: Path) -> None:
    """Says before all work where no study can be written."""
    if out.is_dir():
        raise LesionError(
            f"Expected a study file, but {out} is a folder; name a file in it, such as "
            f"{out / 'study.lesion'}."
        )
    if not out.exists():
        check_folder_of(out)


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


@dataclass(frozen=True)
class Means:
    """With what means a sweep is made.

    images: how many of the order, None for all; memory: bytes; device: None for the best
    runner: where it is measured; reopen: gives the subject once more in another process
    """

    images: int | None = None
    memory: int | None = None
    device: str | None = None
    runner: str = "here"
    reopen: "Callable[[], Subject] | None" = None

    def subject(self) -> "Subject":
        """The subject in another process, on the device."""
        from lesion.sweeps.prepare import move

        assert self.reopen is not None
        subject = self.reopen()
        move(subject.network, self.device or best_device())
        return subject


@contextmanager
def prepared(
    subject: "Subject",
    out: Path,
    choices: "Choices",
    goal: "Goal | None" = None,
    means: Means | None = None,
) -> Iterator["Sweep"]:
    """A sweep ready to run, announced; its study is closed at the end."""
    from lesion.sweeps.prepare import placed, prepare
    from lesion.sweeps.runners import at_work

    means = means or Means()
    device = means.device or best_device()
    with placed(subject.network, device), at_work(means.runner) as where:
        ready = prepare(
            subject,
            out,
            choices,
            goal,
            images=means.images,
            memory=means.memory,
            runner=where,
            reopen=means.subject if means.reopen else None,
        )
        try:
            _announce(ready)
            yield ready
        finally:
            ready.study.close()


@contextmanager
def evaluated(
    network: "nn.Module",
    evaluate: "Evaluate",
    out: Path,
    example: Any,
    choices: "Choices",
    part: str,
    device: str | None,
) -> Iterator["WholeSweep"]:
    """Evaluations ready to run, announced; their study is closed at the end."""
    from lesion.sweeps.prepare import placed
    from lesion.sweeps.whole_network import prepare_whole

    with placed(network, device or best_device()):
        ready = prepare_whole(network, evaluate, out, example, choices, part)
        with ready.study:
            for warning in ready.warnings:
                tell(f"warning: {warning}")
            for note in ready.study.anatomy.notes:
                tell(f"note: {note}")
            say(
                f"{len(ready.lesions)} lesions, each evaluated once as a whole: none stops early, "
                "and an interval stands behind a drop where the function returns a lesion.SetScore"
            )
            yield ready


def foresee(subject: "Subject", out: Path, choices: "Choices", goal: "Goal", means: Means) -> None:
    """Says what a sweep would take; the study at `out` stays as it is, or absent."""
    from lesion.sweeps.outlook import outlook

    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / "trial.lesion"
        if out.exists():
            shutil.copyfile(out, trial)
        with prepared(subject, trial, choices, goal, means) as ready:
            expected = outlook(ready)
    say(
        f"{grouped(expected.lesions)} lesions of {grouped(expected.targets)} layers and units, "
        f"{grouped(expected.macs)} MACs an image\n"
        f"every lesion on every image: {grouped(expected.passes)} passes; "
        f"{duration(expected.plain_seconds)} by whole passes, "
        f"{duration(expected.full_seconds)} by replay from the cut layer on"
    )
    if expected.deciding is not None and expected.deciding_seconds is not None:
        say(
            f"until every verdict is certain: about {grouped(rounded(expected.deciding))} passes, "
            f"{duration(expected.deciding_seconds)}"
        )


def best_device() -> str:
    """cuda where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _announce(ready: "Sweep") -> None:
    header = ready.study.header
    for warning in ready.warnings:
        tell(f"warning: {warning}")
    if header.anatomy.whole:
        tell(f"warning: measured by whole forward passes: {header.anatomy.whole}")
    of = f" of {grouped(len(header.order))}" if ready.images < len(header.order) else ""
    say(
        f"{len(ready.lesions)} lesions on {grouped(ready.images)}{of} images, {ready.batch} at a "
        f"time; {grouped(len(header.holdout))} more are kept back"
    )


def run(
    ready: "Sweep | WholeSweep", seconds: float = float("inf"), logs: "Sequence[Log]" = ()
) -> None:
    """Runs the sweep with a progress bar, at most about so many seconds; logs are told of it.

    A sweep stops between two replays; an evaluation is not begun where it would not end in time.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    from lesion.sweeps.logbook import logged
    from lesion.sweeps.loop import Sweep

    columns = (TextColumn("measuring"), BarColumn(), TaskProgressColumn(), TimeLeft())
    start = before = time.monotonic()
    longest = 0.0
    if isinstance(ready, Sweep):
        ready.over = lambda: time.monotonic() - start >= seconds
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=120) as bar:
        task = bar.add_task("", total=None)
        for step in logged(ready, logs) if isinstance(ready, Sweep) else ready:
            now = time.monotonic()
            share = max(step.done / step.total, (now - start) / seconds)
            bar.update(task, completed=share, total=1)
            if not longest:
                doubt(ready.study)
            longest, before = max(longest, now - before), now
            if not isinstance(ready, Sweep) and now - start + longest > seconds:
                break
        bar.update(task, completed=1, total=1, visible=longest > 0)
    if not longest:
        tell("nothing new to measure")


def doubt(study: Study) -> None:
    """Warns where the intact network hardly does better than guessing."""
    outcomes = study.intact().outcomes
    if "top1" not in outcomes.columns or not len(outcomes):
        return
    right, guess = outcomes["top1"], 1 / study.header.classes
    if right.mean() < guess + BY_CHANCE * (1 - guess):
        tell(
            f"warning: the intact network is right on {100 * right.mean():.1f} % of "
            f"{grouped(len(right))} images, hardly more than by chance ({100 * guess:.3g} %): "
            "check that the labels count as in its training (class folders count by alphabet), "
            "and the weights and the preprocessing"
        )


def baseline(study: Study) -> str:
    """How good the intact network is, in words."""
    outcomes, column, values = study.intact().outcomes, column_of(study), study.evaluations
    if None in values:
        return f"the intact network: {scored(column, values[None], 0)}"
    if not len(outcomes):
        return "nothing is measured yet"
    mean = 100 * outcomes[column].mean()
    return f"the intact network: {scored(column, mean, len(outcomes))}"
