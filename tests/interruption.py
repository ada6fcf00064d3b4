"""Sweeps in processes of their own, killed at any moment, and what they leave behind.

The images write down each read, and the sweeps their steps, so that it shows what was measured, and
how often.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import networks
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from lesion.study.aim import Aim
from lesion.study.study import Study
from lesion.subject.subject import Subject
from lesion.sweeps import work
from lesion.sweeps.choices import Choices
from lesion.sweeps.goals import Decide, Full, Narrow
from lesion.sweeps.loop import Sweep
from lesion.sweeps.prepare import prepare

IMAGES, CHUNK = 400, 16
RATIOS = (0.2, 0.4, 0.6, 0.8)
MIXED = {"filters": RATIOS, "quantise": (8, 3, 2), "activations": (8, 3, 2)}
GOALS = {"decide": Decide(Aim(5.0)), "narrow": Narrow(Aim(half_width=6.0)), "full": Full()}
STARTED, BEGUN, STEP = "started", "begun", "step"


def few_wrong() -> tuple[nn.Module, Dataset]:
    """A small network that is right on 19 of 20 images, and these; its filters matter unequally."""
    network, data = networks.plain(IMAGES)
    images = data.tensors[0]
    with torch.no_grad():
        matter = torch.logspace(-2, 0, 8)
        network.b.weight *= matter.reshape(-1, 1, 1, 1)
        network.b.bias *= matter
        labels = network(images).argmax(1)
    wrong = torch.rand(IMAGES, generator=torch.Generator().manual_seed(0)) < 0.05
    return network, TensorDataset(images, torch.where(wrong, (labels + 1) % 3, labels))


def ready(folder: Path, mode: str, damage: str = "filters") -> Sweep:
    """A sweep into the folder's study, or one that goes on with it."""
    network, data = few_wrong()
    train = networks.random_images(64, 1, 8, 8, classes=3, seed=7)
    train = train if damage == "activations" else None  # the only one that sees them
    subject = Subject.of(network, networks.Logged(data, folder / "log"), train=train)
    choices = Choices(MIXED[damage], holdout=0, damage=damage)
    return prepare(subject, folder / "study", choices, GOALS[mode])


def run(folder: Path, mode: str, damages: Sequence[str] = ("filters",)) -> None:
    """Sweeps in small steps, damage after damage, and notes how far it is."""
    torch.set_num_threads(1)
    work.CHUNK = work.TOGETHER = CHUNK
    note(folder, STARTED)
    for place, damage in enumerate(damages):
        sweep = ready(folder, mode, damage)
        if not place:
            note(folder, BEGUN)
        for step in sweep:
            note(folder, f"{STEP} {step.done}")
        sweep.study.close()


def note(folder: Path, line: str) -> None:
    with (folder / "log").open("a") as file:
        file.write(f"{line}\n")


def started(folder: Path, mode: str, damages: Sequence[str]) -> multiprocessing.Process:
    """A process that sweeps; it is forked from one that has everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lesion.zoo", "lesion.sweeps.sweep", "torch.export", "sympy"])
    process = context.Process(target=run, args=(folder, mode, damages))
    process.start()
    return process


def begun(folder: Path) -> int:
    """How many sweeps have begun to measure."""
    return len(sessions(folder))


def sessions(folder: Path) -> list[list[str]]:
    """What each sweep that began to measure wrote down from then on."""
    log = folder / "log"
    parts = log.read_text().split(f"{STARTED}\n") if log.exists() else []
    return [part.split(f"{BEGUN}\n")[1].splitlines() for part in parts if f"{BEGUN}\n" in part]


def killed(
    folder: Path,
    mode: str,
    after: float,
    measuring: bool,
    damages: Sequence[str] = ("filters",),
) -> bool:
    """Starts a sweep and kills it after so many seconds, of measuring or from the start on.

    Whether the sweep was still running.
    """
    before = begun(folder)
    process = started(folder, mode, damages)
    while measuring and begun(folder) == before and process.is_alive():
        time.sleep(0.002)
    time.sleep(after)
    alive = process.is_alive()
    if alive:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return alive


def finished(folder: Path, mode: str, damages: Sequence[str] = ("filters",)) -> float:
    """Runs a sweep to its end; the seconds it measured."""
    before = begun(folder)
    process = started(folder, mode, damages)
    while begun(folder) == before and process.is_alive():
        time.sleep(0.002)
    start = time.monotonic()
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - start


def recorded(folder: Path) -> list[int]:
    """How many images the study holds of the intact network, and of each lesion."""
    if not (folder / "study").exists():
        return [0]
    with Study.open(folder / "study") as study:
        return [study.images, *(int(study.seen(one).sum()) for one in study.lesions)]


def measured(folder: Path) -> list[list[int]]:
    """For each sweep that began, the images that it read to measure them, in order."""
    return [[int(line) for line in lines if line.isdigit()] for lines in sessions(folder)]


def steps(folder: Path) -> list[list[int]]:
    """For each sweep that began, how many answers it had given after each step."""
    return [
        [int(line.split()[1]) for line in lines if line.startswith(f"{STEP} ")]
        for lines in sessions(folder)
    ]
