"""Sweeps in processes of their own, killed at any moment, and what they leave behind.

The images write down each read, so that it shows what was measured, and how often.
"""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import networks
import torch

from lesion import schedule
from lesion.goals import Full
from lesion.study import Study
from lesion.subject import Subject
from lesion.sweeping import Choices, prepare

IMAGES, CHUNK = 400, 16
RATIOS = (0.2, 0.4, 0.6, 0.8)
STARTED, BEGUN = "started", "begun"


def run(folder: Path) -> None:
    """Sweeps into the folder's study, or goes on with it, and notes how far it is."""
    torch.set_num_threads(1)
    schedule.CHUNK = CHUNK
    note(folder, STARTED)
    network, data = networks.plain(IMAGES)
    subject = Subject.of(network, networks.Logged(data, folder / "reads"))
    ready = prepare(subject, folder / "study", Choices(RATIOS, holdout=0), Full())
    note(folder, BEGUN)
    list(ready)
    ready.study.close()


def note(folder: Path, line: str) -> None:
    with (folder / "reads").open("a") as file:
        file.write(f"{line}\n")


def started(folder: Path) -> multiprocessing.Process:
    """A process that sweeps; it is forked from one that has everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lesion.zoo", "lesion.sweeping", "torch.export", "sympy"])
    process = context.Process(target=run, args=(folder,))
    process.start()
    return process


def begun(folder: Path) -> int:
    """How many sweeps have begun to measure."""
    log = folder / "reads"
    return log.read_text().split().count(BEGUN) if log.exists() else 0


def killed(folder: Path, after: float, measuring: bool) -> bool:
    """Starts a sweep and kills it after so many seconds, of measuring or from the start on.

    Whether the sweep was still running.
    """
    process, before = started(folder), begun(folder)
    while measuring and begun(folder) == before and process.is_alive():
        time.sleep(0.002)
    time.sleep(after)
    alive = process.is_alive()
    if alive:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return alive


def finished(folder: Path) -> float:
    """Runs a sweep to its end; the seconds it measured."""
    process, before = started(folder), begun(folder)
    while begun(folder) == before and process.is_alive():
        time.sleep(0.002)
    start = time.monotonic()
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - start


def recorded(folder: Path) -> int:
    """How many images the study holds of every lesion; all lesions have the same."""
    if not (folder / "study").exists():
        return 0
    with Study.open(folder / "study") as study:
        (images,) = {study.images, *(int(study.seen(one).sum()) for one in study.lesions)}
        return images


def measured(folder: Path) -> list[list[int]]:
    """For each sweep that began, the images that it read to measure them, in order."""
    starts = (folder / "reads").read_text().split(f"{STARTED}\n")
    begun = [session.split(f"{BEGUN}\n")[1] for session in starts if BEGUN in session]
    return [[int(line) for line in session.split()] for session in begun]
