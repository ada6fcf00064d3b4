"""How much faster a deciding sweep of many damages is than a plain loop over the same lesions.

    python benchmarks/mixed_speed.py --network demo:resnet56 --plain-images 64 -o mixed_speed.md

The plain loop edits a copy of the network for each lesion and runs it whole on every image, in
batches of 32; `lesion.sweep` decides, damage after damage, into one study, and walks each by its
severity. They take turns in one process with one thread: a part of the plain loop's images, then a
whole deciding sweep, from tracing to the study file. With fewer `--plain-images` the plain loop's
time is that of so many images, scaled up, and of making each lesion once; with all of them verdicts
are compared with its drops.
Run it with nothing else at work.
"""

import argparse
import copy
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
import torch
from contenders import lowest, pairs
from subjects import named, table
from torch import Tensor, nn

from lesion.engine.whole import Whole
from lesion.lesions.damage import damage as registered
from lesion.lesions.lesion import Lesion
from lesion.results.evidence import SAFE, SENSITIVE
from lesion.results.reading import DAMAGE
from lesion.study.aim import Aim
from lesion.study.decisions import Decisions
from lesion.study.study import Study
from lesion.subject.subject import Subject
from lesion.sweeps.choices import Choices
from lesion.sweeps.goals import Decide, Full
from lesion.sweeps.prepare import prepare
from lesion.zoo import fashion_mnist
from lesion.zoo.forms import open_network

BATCH = 32  # the plain loop is slower with 128
DAMAGES = {
    "filters": (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875),
    "quantise:clip=mse": (8, 6, 5, 4, 3, 2),
    "quantise:clip=mse,sparse=0.5": (8, 6, 4, 3, 2),
    "sparsity": (0.25, 0.5, 0.625, 0.75, 0.875, 0.9375),
    "low_rank:form=spatial": (0.125, 0.25, 0.5, 0.75, 0.875),
}
HEADER = (
    "network",
    "tolerance",
    "lesions × images",
    "plain loop (s)",
    "deciding sweep (s)",
    "ratio",
    "in each turn",
    "lesion-images it looked at",
    "wrong verdicts",
)


@dataclass(frozen=True)
class Deciding:
    """A deciding sweep: its seconds, how much it looked at, and its verdicts."""

    seconds: float
    looks: int
    verdicts: dict[Lesion, str]


def plain(
    subject: Subject, images: Tensor, labels: Tensor
) -> tuple[float, float, dict[Lesion, int]]:
    """Seconds that all lesions take to be made and to be run, and how many images each has right.

    Which lesions there are, and the weights that other damages make, come from the sweep's own
    planning; making them counts, the planning does not.
    """
    making, running, right = 0.0, 0.0, dict[Lesion, int]()
    for damage, amounts in DAMAGES.items():
        with tempfile.TemporaryDirectory() as folder:
            choices = Choices(amounts, holdout=0, damage=damage)
            ready = prepare(subject, Path(folder) / "s", choices, Full())
            ready.study.close()
        readers = Whole(ready.worker.dissection).readers
        for lesion, edit in ready.lesions.items():
            start = time.perf_counter()
            edited = copy.deepcopy(subject.network)
            if damage == DAMAGE:
                clear(edited, lesion)
            else:
                edit.hold(readers, edited)
            making, start = making + time.perf_counter() - start, time.perf_counter()
            right[lesion] = answered(edited, images, labels)
            running += time.perf_counter() - start
    return making, running, right


@torch.no_grad()
def clear(network: nn.Module, lesion: Lesion) -> None:
    """Zero a convolution's filters of lowest l1 norm and their entries in its batch norm."""
    conv, norm = next(pair for name, *pair in pairs(network) if name == lesion.target)
    filters = lowest(conv, lesion.amount)
    for parameter in (conv.weight, norm.weight, norm.bias):
        parameter[filters] = 0


@torch.inference_mode()
def answered(network: nn.Module, images: Tensor, labels: Tensor) -> int:
    """How many images a network has right."""
    parts = zip(images.split(BATCH), labels.split(BATCH), strict=True)
    return sum(int((network(part).argmax(1) == answers).sum()) for part, answers in parts)


def deciding(subject: Subject, tolerance: float) -> Deciding:
    """Sweep damage after damage until verdicts are certain."""
    aim = Aim(tolerance)
    with tempfile.TemporaryDirectory() as folder:
        path, start = Path(folder) / "s", time.perf_counter()
        for damage, amounts in DAMAGES.items():
            choices = Choices(amounts, holdout=0, damage=damage)
            ready = prepare(subject, path, choices, Decide(aim))
            for _ in ready:
                pass
            ready.study.close()
        seconds = time.perf_counter() - start
        with Study.open(path) as study:
            looks = sum(int(study.seen(lesion).sum()) for lesion in study.lesions)
            decisions = Decisions(study, aim, study.lesions).decisions()
            verdicts = {lesion: decision.verdict for lesion, decision in decisions.items()}
            check_chains(verdicts)
            return Deciding(seconds, looks, verdicts)


def check_chains(verdicts: dict[Lesion, str]) -> None:
    """Raises AssertionError where a lesion that hurts less than a safe one is called sensitive."""
    chains: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for lesion, verdict in verdicts.items():
        harm = registered(lesion.damage).amounts.severity(lesion.amount)
        chains.setdefault((lesion.damage, lesion.target), []).append((harm, verdict))
    for chain in chains.values():
        known = [verdict for _, verdict in sorted(chain) if verdict in (SAFE, SENSITIVE)]
        assert known == sorted(known, key=(SAFE, SENSITIVE).index), chain


def rows(asked: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    """A row a tolerance."""
    network = open_network(asked.network, asked.weights)[0].eval()
    images, labels = fashion_mnist.bundled()
    images, labels = fashion_mnist.normalise(images)[: asked.images], labels[: asked.images]
    subject = Subject.of(network, torch.utils.data.TensorDataset(images, labels))
    counted = asked.plain_images or asked.images
    bounds = np.linspace(0, counted, asked.turns + 1).astype(int).tolist()
    right: dict[Lesion, int] = {}
    loops: list[float] = []
    sweeps: dict[float, list[Deciding]] = {tolerance: [] for tolerance in asked.tolerances}
    for start, stop in pairwise(bounds):
        making, running, more = plain(subject, images[start:stop], labels[start:stop])
        right = {lesion: right.get(lesion, 0) + count for lesion, count in more.items()}
        loops.append(making + running * asked.images / (stop - start))
        for tolerance in asked.tolerances:
            sweeps[tolerance].append(deciding(subject, tolerance))
            print(f"plain {loops[-1]:.0f} s, {sweeps[tolerance][-1].seconds:.1f} s", flush=True)
    base = answered(network, images, labels)
    for tolerance, turns in sweeps.items():
        ratios = [loop / turn.seconds for loop, turn in zip(loops, turns, strict=True)]
        yield (
            named(asked),
            f"{tolerance:g}",
            f"{len(right)} × {asked.images}",
            f"{median(loops):.0f}" + (" (scaled up)" if counted < asked.images else ""),
            f"{median(turn.seconds for turn in turns):.1f}",
            f"{median(ratios):.1f}",
            ", ".join(f"{ratio:.1f}" for ratio in ratios),
            f"{turns[0].looks} ({100 * turns[0].looks / len(right) / asked.images:.1f} %)",
            wrong(turns[0].verdicts, right, base, tolerance, asked.images)
            if counted == asked.images
            else "",
        )


def wrong(
    verdicts: dict[Lesion, str],
    right: dict[Lesion, int],
    base: int,
    tolerance: float,
    images: int,
) -> str:
    """How many verdicts the plain loop's drops contradict, and of how many."""
    decided = {lesion: each for lesion, each in verdicts.items() if each in (SAFE, SENSITIVE)}
    false = sum(
        (100 * (base - right[lesion]) / images > tolerance + 1e-9) == (verdict == SAFE)
        for lesion, verdict in decided.items()
    )
    return f"{false} of {len(decided)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", default="demo:resnet56")
    parser.add_argument("--weights")
    parser.add_argument("--name", help="of the network in the table")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--plain-images", type=int, help="images to time the plain loop on")
    parser.add_argument("--tolerances", type=float, nargs="+", default=[1.0])
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("-o", "--out", type=Path, help="a Markdown file to add the table to")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    table(HEADER, list(rows(asked)), asked.out)


if __name__ == "__main__":
    main()
