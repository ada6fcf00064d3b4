"""The sweep: from a network and its images to a study, saved as it goes."""

import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from lesion.engine.memory import parse
from lesion.engine.retrain import Recover
from lesion.lesions.criteria import Given
from lesion.lesions.damage import Damage
from lesion.study.study import Study
from lesion.subject.adapter import Adapter
from lesion.subject.scores import Score
from lesion.subject.subject import Subject, judged
from lesion.sweeps.choices import Choices
from lesion.sweeps.goals import aimed
from lesion.sweeps.identity import HOLDOUT
from lesion.sweeps.logbook import logged
from lesion.sweeps.logs import Logs, opened
from lesion.sweeps.prepare import placed, prepare
from lesion.sweeps.progress import Told, exhausted
from lesion.sweeps.runners import Runner, at_work


def sweep(
    network: nn.Module,
    data: Any,
    out: str | Path | None = None,
    *,
    max_drop: float = 1.0,
    confidence: float = 95,
    half_width: float | None = None,
    full: bool = False,
    score: str | Score = "top1",
    ratios: Sequence[float] | None = None,
    criterion: Given = "l1",
    units: str = "free",
    layers: Sequence[str] = (),
    rounding: str = "floor-kept",
    images: int | None = None,
    seed: int = 0,
    holdout: float = HOLDOUT,
    order: str = "margin",
    estimand: str = "set",
    memory: str | None = None,
    device: str | None = None,
    adapter: Adapter | None = None,
    recover: str | Recover = "",
    train: Any = None,
    damage: str | Damage = "filters",
    runner: str | Runner = "here",
    progress: bool | Told = True,
    log: Logs = (),
) -> Study:
    """The study at `out`: each unit cut on its own, at rising ratios, until it is told apart.

    network, data: a trained network and its evaluation images (a Dataset or DataLoader, read by
        index); see `Choices` for what to measure, `prepare` for the errors
    out: the study's file, new or to go on with; None for a temporary one, which is removed when the
        study is closed or collected, so that what is to be kept, or gone on with, needs a name
    max_drop, confidence: stop with a lesion once it is certain at `confidence` per cent whether it
        costs more than `max_drop` points, see `Aim`
    half_width: instead, go on until every drop is known to so many points on both sides; full:
        measure every lesion on every image
    score: what an image gives, see `Subject.of`
    images: the first so many of the study's random order; memory: such as "4G", by default
        half of what is free; device: such as "cuda", by default where the network is
    adapter: stands between batches and the network where they are not (images, labels), or says
        which of several outputs is scored, such as lesion.Output(1)
    recover: what each lesioned network goes through before it is scored: "bn" (batch norms'
        statistics estimated anew), "finetune:STEPS", or a function `recover(network, batches)`, see
        `lesion.engine.recovery`; train: its training images, a Dataset or DataLoader without scored
        ones, which a criterion sees that needs images
    damage: what is done to each layer, see `lesion.lesions.damage`; ratios: how much of it
    runner: where it is measured, see `lesion.sweeps.runners`
    progress: True for a bar, in a notebook or where standard error is a terminal, and silence
        elsewhere; False for silence; or a function, called with a `Progress` at each step
    log: where else it tells how far it is and what came out: "jsonl:FILE", "tensorboard:FOLDER",
        "wandb:PROJECT", "mlflow:EXPERIMENT", or an object, one or several; see `lesion.sweeps.logs`

    The network comes back bit for bit, also after an error or an interrupt.  Calling again with
    the same file goes on where it stopped, and with another goal uses all that it holds.  The drop
    at a ratio is measured without retraining (Li et al. 2017, section 3.2) unless a recovery is
    given; one study holds both.
    """
    choices = Choices(
        ratios,
        criterion,
        units,
        layers,
        rounding,
        seed,
        holdout,
        order,
        estimand,
        recover,
        damage=damage,
    )
    choices.check()
    logs = opened(log)
    with placed(network, device), _place(out) as path, at_work(runner) as where:
        subject = Subject.of(network, data, adapter=adapter, score=score, train=train)
        if subject.several:
            warnings.warn(subject.several, stacklevel=2)
        goal = aimed(max_drop, confidence, judged(subject.score), half_width, full)
        room = parse(memory) if memory else None
        ready = prepare(subject, path, choices, goal, images=images, memory=room, runner=where)
        if out is None:
            ready.study.vanish(path.parent)
        return exhausted(logged(ready, logs), ready.study, progress)


@contextmanager
def _place(out: str | Path | None) -> Iterator[Path]:
    """Where the study's file is to be; a temporary place is gone where anything raises."""
    if out is not None:
        yield Path(out)
        return
    folder = tempfile.mkdtemp(prefix="lesion-")
    try:
        yield Path(folder) / "study.lesion"
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
