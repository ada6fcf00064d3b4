"""How much faster it is to stop early, and whether the answer is that of all images.

    python benchmarks/early_stopping.py --orders margin uniform -o early_stopping.md

The plain loop of `contenders.py` measures every lesion on every image; `lesion.sweep` decides. Each
runs in a fresh process; seconds are counted around the sweep and without imports: tracing, the
intact pass, every revisit and the study file are in. They take turns: a part of the plain loop's
images, then a whole deciding sweep, so that a machine whose speed drifts serves both alike; a
turn's ratio is that of the plain loop at the speed of the part beside it, and medians are shown.
Orders after the first run once, in the last turn. With `--plain-images` the plain loop's time is
that of so many images, scaled up, which is said, and answers are not compared. Run it with nothing
else at work.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import chain, pairwise, product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from sweep_speed import Result
from sweep_speed import run as run_contender

import lesion
from lesion.engine.replay import Replay
from lesion.results.evidence import SAFE, SENSITIVE
from lesion.study.aim import Aim
from lesion.study.decisions import Decisions
from lesion.subject.subject import Subject
from lesion.sweeps.choices import Choices
from lesion.sweeps.goals import Decide
from lesion.sweeps.loop import Sweep
from lesion.sweeps.prepare import prepare
from lesion.zoo import fashion_mnist
from lesion.zoo.forms import open_network

HERE = Path(__file__).parent
HEADER = (
    "order",
    "tolerance",
    "seconds",
    "times the plain loop",
    "in each turn",
    "answers",
    "fewer image-forwards",
    "of that by the clock",
    "rates as of all images",
    "rates above the tolerance",
    "wrong verdicts",
    "peak memory (MiB)",
)
LAYERS = ("conv1", "layer*.conv1")


def images_of(folder: str | None) -> tuple[torch.Tensor, torch.Tensor]:
    """The bundled test images, or the training images in a folder of the original files."""
    if folder is None:
        images, labels = fashion_mnist.bundled()
    else:
        images, labels = fashion_mnist.read("train", Path(folder))
    return fashion_mnist.normalise(images), labels


def decide(asked: argparse.Namespace) -> dict[str, Any]:
    """One deciding sweep, in this process: seconds, answers, image-forwards, verdicts."""
    torch.set_num_threads(asked.threads)
    network, _ = open_network(asked.network)
    network.eval()
    images, labels = images_of(asked.train)
    data = torch.utils.data.TensorDataset(images[: asked.images], labels[: asked.images])
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        choices = Choices(layers=LAYERS, holdout=0, order=asked.order)
        subject = Subject.of(network, data)
        ready = prepare(subject, Path(folder) / "s", choices, Decide(Aim(asked.tolerance)))
        for _ in ready:
            pass
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "peak": peak(), **figures(ready, asked.tolerance)}


def peak() -> float:
    """The most memory that this process has held, in MiB (on Linux)."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def figures(ready: Sweep, tolerance: float) -> dict[str, Any]:
    """What the sweep found, and what it would have taken if only passes counted.

    An answer counts as the share of a whole pass that lies behind its cut, by multiply-accumulates;
    the intact network counts once an image.
    """
    study, engine = ready.study, ready.worker.engine
    assert isinstance(engine, Replay)
    costs = np.array(engine._trial.costs)
    answers = {cell: int(study.seen(cell).sum()) for cell in study.lesions}
    passes = study.images + sum(
        count * costs[list(engine.behind(ready.lesions[cell]).replayed)].sum() / costs.sum()
        for cell, count in answers.items()
    )
    decisions = Decisions(study, Aim(tolerance), study.lesions).decisions()
    names = {cell: f"{cell.target} {cell.amount:.1f}" for cell in study.lesions}
    return {
        "answers": sum(answers.values()),
        "fewer": len(study.lesions) * study.images / passes,
        "rates": lesion.recommend(study, tolerance).rates | branches(study, tolerance),
        "verdicts": {names[cell]: decision.verdict for cell, decision in decisions.items()},
    }


def branches(study: lesion.Study, tolerance: float) -> dict[str, float]:
    """The rates of the layers that are measured as branches."""
    entries = lesion.recommend(study, tolerance).layers
    return {entry.layer: entry.rate for entry in entries if entry.kind == "branch" and entry.rate}


@dataclass(frozen=True)
class Turn:
    """A deciding sweep, and the seconds of the whole plain loop at the speed of the part beside."""

    plain: float
    result: dict[str, Any]


def in_a_process(asked: argparse.Namespace, order: str, tolerance: float) -> dict[str, Any]:
    """A deciding sweep in a fresh process."""
    print(f"{order}, {tolerance:g} …", end=" ", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        options = {
            "--network": asked.network,
            "--order": order,
            "--tolerance": str(tolerance),
            "--images": str(asked.images),
            "--threads": str(asked.threads),
            "--result": str(out),
        }
        command = [sys.executable, __file__, *chain.from_iterable(options.items())]
        command += ["--train", asked.train] if asked.train else []
        environment = os.environ | {"OMP_NUM_THREADS": str(asked.threads)}
        subprocess.run(command, check=True, env=environment)
        result: dict[str, Any] = json.loads(out.read_text())
    print(f"{result['seconds']:.1f} s", flush=True)
    return result


def row(
    order: str, tolerance: float, turns: list[Turn], drops: dict[str, float]
) -> tuple[str, ...]:
    """The cells of a sweep; drops: of each lesion on all images, in points, empty if not known."""
    result = turns[0].result
    faster = [turn.plain / turn.result["seconds"] for turn in turns]
    cells = [
        order,
        f"{tolerance:g}",
        f"{median(turn.result['seconds'] for turn in turns):.1f}",
        f"{median(faster):.1f}",
        ", ".join(f"{times:.1f}" for times in faster),
        str(result["answers"]),
        f"{result['fewer']:.1f}",
        f"{median(faster) / result['fewer']:.2f}",
    ]
    peak = f"{max(turn.result['peak'] for turn in turns):.0f}"
    if not drops:
        return (*cells, "", "", "", peak)
    truth = rates(drops, tolerance)
    same = sum(result["rates"].get(layer, 0.0) == rate for layer, rate in truth.items())
    above = sum(
        drops[f"{layer} {rate:.1f}"] > tolerance + 1e-9
        for layer, rate in result["rates"].items()
        if rate
    )
    wrong = sum(
        verdict == (SAFE if drops[name] > tolerance + 1e-9 else SENSITIVE)
        for name, verdict in result["verdicts"].items()
        if verdict in (SAFE, SENSITIVE)
    )
    decided = sum(verdict in (SAFE, SENSITIVE) for verdict in result["verdicts"].values())
    return (*cells, f"{same} of {len(truth)}", str(above), f"{wrong} of {decided}", peak)


def rates(drops: dict[str, float], tolerance: float) -> dict[str, float]:
    """Of each layer the largest ratio up to which every drop is within the tolerance."""
    largest: dict[str, float] = {}
    ended: set[str] = set()
    for name in sorted(drops):
        layer, ratio = name.split()
        largest.setdefault(layer, 0.0)
        if drops[name] > tolerance + 1e-9:
            ended.add(layer)
        elif layer not in ended:
            largest[layer] = float(ratio)
    return largest


def take_turns(
    asked: argparse.Namespace,
) -> tuple[list[Result], dict[tuple[str, float], list[Turn]]]:
    """The parts of the plain loop, and of each order and tolerance the turns."""
    counted = asked.plain_images or asked.images
    bounds = np.linspace(0, counted, asked.turns + 1).astype(int).tolist()
    plain: list[Result] = []
    turns: dict[tuple[str, float], list[Turn]] = {}
    for start, stop in pairwise(bounds):
        options = ["--network", asked.network, "--images", str(stop - start), "--start", str(start)]
        plain.append(run_contender("plain loop", options, asked.threads))
        whole = plain[-1]["seconds"] * asked.images / (stop - start)
        orders = asked.orders if stop == counted else asked.orders[:1]
        for order, tolerance in product(orders, asked.tolerances):
            result = in_a_process(asked, order, tolerance)
            turns.setdefault((order, tolerance), []).append(Turn(whole, result))
    return plain, turns


def drops_of(plain: list[Result], asked: argparse.Namespace) -> dict[str, float]:
    """Each lesion's drop in points, from the plain loop's outcomes on all images."""
    network, _ = open_network(asked.network)
    network.eval()
    images, labels = images_of(asked.train)
    answers = labels[: asked.images]
    with torch.inference_mode():
        parts = torch.split(images[: asked.images], 128)
        right = torch.cat([network(part).argmax(1) for part in parts]) == answers
    base = float(right.double().mean())
    outcomes = {
        name: np.concatenate([part["outcomes"][name] for part in plain])
        for name in plain[0]["outcomes"]
    }
    return {name: 100 * (base - float(column.mean())) for name, column in outcomes.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", default="demo:resnet56")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--train", help="a folder with Fashion-MNIST's training images: use those")
    parser.add_argument("--plain-images", type=int, help="images to time the plain loop on")
    parser.add_argument("--tolerances", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--orders", nargs="+", default=["margin"], choices=["margin", "uniform"])
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", "--out", type=Path, help="a Markdown file for the table")
    parser.add_argument("--order", help=argparse.SUPPRESS)
    parser.add_argument("--tolerance", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.result:
        asked.result.write_text(json.dumps(decide(asked)))
        return
    plain, turns = take_turns(asked)
    counted = asked.plain_images or asked.images
    seconds = sum(part["seconds"] for part in plain) * asked.images / counted
    drops = drops_of(plain, asked) if counted == asked.images else {}
    rows = [row(*which, several, drops) for which, several in turns.items()]
    how = "" if counted == asked.images else f", scaled up from {counted} images"
    lines = ["| " + " | ".join(r) + " |" for r in (HEADER, tuple("---" for _ in HEADER), *rows)]
    text = (
        f"{asked.network}, {asked.images} images, {asked.threads} thread(s); the plain loop: "
        f"{seconds:.0f} s{how}\n\n" + "\n".join(lines) + "\n"
    )
    print(text)
    if asked.out:
        asked.out.write_text(text)


if __name__ == "__main__":
    main()
