"""What a deciding sweep has certified when it is stopped: MACs cut against the clock.

    python benchmarks/anytime.py --full resnet56.lesion --plain-images 500 --figure anytime.png \
        -o anytime.md

A deciding sweep of a bundled network is watched: between its steps, off the clock, it is noted what
every lesion has seen. From that follow the verdicts at any moment, and each layer's largest safe
ratio with no sensitive one below. What these rates cut (MACs of each layer that can be removed
alone × share of its filters) is set beside what the rates of a full sweep cut (`--full`: a study,
or an NPZ file, see `label_free.py`), and the time beside that of the plain loop of `contenders.py`,
which is given, or timed on some images and scaled up. Run it with nothing else at work, or count
the processor's seconds (`--clock processor`). It ends with an error where the last rates watched
are not those of `lesion.recommend`.
"""

import argparse
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from anytime_figure import of_shares
from early_stopping import LAYERS, images_of, rates
from label_free import drops_of
from matplotlib.figure import Figure
from sweep_speed import run as run_contender
from torch.utils.data import TensorDataset

import lesion
from lesion.lesions.lesion import Lesion
from lesion.network.anatomy import Anatomy
from lesion.sequential import Verdict
from lesion.study.aim import Aim
from lesion.study.decisions import Decisions
from lesion.subject.subject import Subject
from lesion.sweeps.choices import Choices
from lesion.sweeps.goals import Decide
from lesion.sweeps.prepare import prepare
from lesion.words import grouped, points
from lesion.zoo.forms import open_network

HEADER = (
    "stopped after",
    "seconds",
    "answers, the intact network's among them",
    "MACs cut, of those of the full sweep's rates",
    "the same with the layers that read the filters",
    "layers at the full sweep's rate",
)
PARTS = 100, 50, 20  # of the plain loop's time
SIDES = Verdict.SAFE, Verdict.SENSITIVE
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}

Rates = Mapping[str, float]


@dataclass(frozen=True)
class Moment:
    """What was certified after so many seconds of sweeping, and from how many answers."""

    seconds: float
    answers: int
    rates: Rates


@dataclass(frozen=True)
class Watched:
    """A deciding sweep from its beginning to its end; lesions: those of layers removed alone."""

    moments: Sequence[Moment]
    lesions: Sequence[Lesion]
    anatomy: Anatomy

    def at(self, seconds: float) -> Moment:
        """The last moment up to then."""
        return [moment for moment in self.moments if moment.seconds <= seconds][-1]

    def cut(self, rates: Rates) -> float:
        """The MACs of the layers' own filters that rates cut."""
        layer = self.anatomy.layer
        fallen = (cell for cell in self.lesions if rates.get(cell.target) == cell.amount)
        return float(sum(layer[cell.target].macs * cell.pruned / cell.channels for cell in fallen))

    def cut_in_all(self, rates: Rates) -> float:
        """The same with what the layers that read the filters save."""
        chosen = {name: rate for name, rate in rates.items() if rate}
        return float(lesion.cost(self.anatomy).macs - lesion.cost_at(self.anatomy, chosen).macs)


def watch(asked: argparse.Namespace) -> Watched:
    """A deciding sweep in this process; between its steps what it has is counted, off the clock."""
    torch.set_num_threads(asked.threads)
    network, _ = open_network(asked.network)
    network.eval()
    pixels, labels = (tensor[: asked.images] for tensor in images_of(None))
    aim, clock, away = Aim(asked.tolerance), CLOCKS[asked.clock], 0.0
    steps: list[tuple[float, int, np.ndarray]] = []
    with tempfile.TemporaryDirectory() as folder:
        start = clock()
        subject = Subject.of(network, TensorDataset(pixels, labels))
        choices = Choices(layers=LAYERS, holdout=0, order="margin")
        ready = prepare(subject, Path(folder) / "s", choices, Decide(aim))
        for step in ready:
            now = clock()
            seen = np.array([ready.study.seen(cell).sum() for cell in ready.study.lesions])
            steps.append((now - start - away, step.done, seen))
            away += clock() - now
        steps.append((clock() - start - away, step.done, seen))
        with ready.study as study:
            moments = certifying(study, aim, steps)
            check(study, asked.tolerance, moments[-1].rates)
            return Watched(moments, removable(study.lesions), study.anatomy)


def certifying(
    study: lesion.Study, aim: Aim, steps: Iterable[tuple[float, int, np.ndarray]]
) -> list[Moment]:
    """The steps with their rates; of each, seconds, answers, and images seen by each lesion.

    A lesion looks at its images in one order, so it had its verdict once it had seen as many as
    the verdict took.
    """
    decisions = Decisions(study, aim, study.lesions)
    decisions.follow()
    verdicts = decisions.verdicts()
    decided_at = decisions.process.decided_at(decisions.alpha)
    taken = [
        at[SIDES.index(verdict)] if verdict in SIDES else np.inf
        for at, verdict in zip(decided_at, verdicts.values(), strict=True)
    ]
    moments = [Moment(0.0, 0, {})]
    for seconds, answers, seen in steps:
        known = [
            (cell, verdict)
            for (cell, verdict), images, needed in zip(verdicts.items(), seen, taken, strict=True)
            if images >= needed
        ]
        moments.append(Moment(seconds, answers, certified(dict(known))))
    return moments


def check(study: lesion.Study, tolerance: float, last: Rates) -> None:
    """Ends with a sentence where the last rates are not those that are advised."""
    advised = {
        name: rate for name, rate in lesion.recommend(study, tolerance).rates.items() if rate
    }
    if last != advised:
        raise SystemExit(f"Watched the rates {last}, but {advised} are advised.")


def removable(lesions: Iterable[Lesion]) -> list[Lesion]:
    """Those of layers that can be removed alone, ratios rising."""
    free = (cell for cell in lesions if cell.kind == "free")
    return sorted(free, key=lambda cell: cell.amount)


def certified(verdicts: Mapping[Lesion, Verdict]) -> dict[str, float]:
    """Of each removable layer the largest safe ratio with no sensitive one below, if there is one.

    verdicts: of the lesions that have one
    """
    largest: dict[str, float] = {}
    ended: set[str] = set()
    for cell in removable(verdicts):
        if verdicts[cell] is Verdict.SENSITIVE:
            ended.add(cell.target)
        elif cell.target not in ended:
            largest[cell.target] = cell.amount
    return largest


def of_all_images(asked: argparse.Namespace, layers: set[str]) -> dict[str, float]:
    """The rates of the full sweep. Ends with a sentence where it has other images or layers."""
    images, drops = drops_of(asked.full)
    names = [
        f"{layer} {ratio:.1f}" for layer, ratio in zip(drops["layer"], drops["amount"], strict=True)
    ]
    safe = rates(dict(zip(names, drops["top1"].tolist(), strict=True)), asked.tolerance)
    if images != asked.images or not layers <= safe.keys():
        raise SystemExit(f"{asked.full}: expected the same layers on {asked.images} images.")
    return {layer: safe[layer] for layer in layers}


def plain_loop(asked: argparse.Namespace) -> tuple[float, str]:
    """The seconds of the plain loop on all images, and where they come from."""
    if asked.plain_seconds:
        return asked.plain_seconds, "given"
    options = ["--network", asked.network, "--images", str(asked.plain_images)]
    seconds = run_contender("plain loop", options, asked.threads)["seconds"]
    return (
        seconds * asked.images / asked.plain_images,
        f"scaled up from {asked.plain_images} images",
    )


def row(name: str, moment: Moment, seconds: float, watched: Watched, full: Rates) -> list[str]:
    """The cells of a moment."""
    shares = [
        f"{100 * cut(moment.rates) / cut(full):.1f} %" for cut in (watched.cut, watched.cut_in_all)
    ]
    same = sum(moment.rates.get(layer, 0.0) == rate for layer, rate in full.items())
    return [
        name,
        f"{seconds:.1f}",
        grouped(moment.answers),
        *shares,
        f"{same} of {len(full)}",
    ]


def report(watched: Watched, full: Rates, plain: float) -> str:
    """The Markdown table."""
    last = watched.moments[-1]
    body = [
        row(f"1/{part} of the plain loop", watched.at(plain / part), plain / part, watched, full)
        for part in PARTS
    ]
    body.append(row("its own end", last, last.seconds, watched, full))
    lines = [HEADER, ["---"] * len(HEADER), *body]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def draw(watched: Watched, full: Rates, plain: float) -> Figure:
    """The share that is certified against time."""
    seconds = np.array([moment.seconds for moment in watched.moments[1:]])
    cut = np.array([watched.cut(moment.rates) for moment in watched.moments[1:]])
    return of_shares(seconds, cut * (100 / watched.cut(full)), plain, PARTS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", default="demo:resnet56")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--tolerance", type=float, default=1.0)
    parser.add_argument("--full", type=Path, required=True, help="a full sweep: a study or an NPZ")
    parser.add_argument("--plain-seconds", type=float, help="the plain loop's time on all images")
    parser.add_argument("--plain-images", type=int, default=500, help="else time it on so many")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--figure", type=Path, help="a file for the picture")
    parser.add_argument("-o", "--out", type=Path, help="a Markdown file for the table")
    asked = parser.parse_args()
    watched = watch(asked)
    full = of_all_images(asked, {cell.target for cell in watched.lesions})
    plain, source = plain_loop(asked)
    text = (
        f"{asked.network}, {asked.images} images, {asked.threads} thread(s), "
        f"{points(asked.tolerance)}; the plain loop: {plain:.0f} s, {source}; the "
        f"sweep's seconds are those of the {asked.clock} clock\n\n"
        f"{report(watched, full, plain)}\n"
    )
    if asked.figure:
        draw(watched, full, plain).savefig(asked.figure, dpi=150)
        text += f"\n![MACs cut by certified rates against time]({asked.figure.name})\n"
    print(text)
    if asked.out:
        asked.out.write_text(text)


if __name__ == "__main__":
    main()
