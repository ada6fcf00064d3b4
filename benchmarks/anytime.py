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
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from early_stopping import LAYERS, images_of, rates
from label_free import drops_of
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from sweep_speed import run as run_contender
from torch.utils.data import TensorDataset

import lesion
from lesion.aim import Aim
from lesion.anatomy import Anatomy
from lesion.choices import Choices
from lesion.deciding import Decisions
from lesion.goals import Decide
from lesion.plan import Lesion
from lesion.plots.style import COLOURS, FONT, INK, PALE
from lesion.preparing import prepare
from lesion.sequential import Verdict
from lesion.subject import Subject
from lesion.wording import grouped, points
from lesion.zoo.opening import open_network

HEADER = (
    "stopped after", "seconds", "answers, the intact network's among them",
    "MACs cut, of those of the full sweep's rates",
    "the same with the layers that read the filters", "layers at the full sweep's rate",
)  # fmt: skip
PARTS = 100, 50, 20  # of the plain loop's time
ASKED = 90  # per cent, at a twentieth
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
        return [one for one in self.moments if one.seconds <= seconds][-1]

    def cut(self, rates: Rates) -> float:
        """The MACs of the layers' own filters that rates cut."""
        layer, cells = self.anatomy.layer, self.lesions
        fallen = (one for one in cells if rates.get(one.target) == one.amount)
        return float(sum(layer[one.target].macs * one.pruned / one.channels for one in fallen))

    def cut_in_all(self, rates: Rates) -> float:
        """The same with what the layers that read the filters save."""
        chosen = {name: rate for name, rate in rates.items() if rate}
        return float(lesion.cost(self.anatomy).macs - lesion.cost_at(self.anatomy, chosen).macs)


def watch(asked: argparse.Namespace) -> Watched:
    """A deciding sweep in this process; between its steps what it has is counted, off the clock."""
    torch.set_num_threads(asked.threads)
    network, _ = open_network(asked.network)
    network.eval()
    pixels, labels = (own[: asked.images] for own in images_of(None))
    aim, clock, away = Aim(asked.tolerance), CLOCKS[asked.clock], 0.0
    steps: list[tuple[float, int, np.ndarray]] = []
    with tempfile.TemporaryDirectory() as folder:
        start = clock()
        subject = Subject.of(network, TensorDataset(pixels, labels))
        choices = Choices(layers=LAYERS, holdout=0, order="margin")
        ready = prepare(subject, Path(folder) / "s", choices, Decide(aim))
        for step in ready:
            now = clock()
            seen = np.array([ready.study.seen(one).sum() for one in ready.study.lesions])
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
    found = Decisions(study, aim, study.lesions)
    found.follow()
    verdicts = found.verdicts()
    taken = [
        at[SIDES.index(verdict)] if verdict in SIDES else np.inf
        for at, verdict in zip(
            found.process.decided_at(found.alpha), verdicts.values(), strict=True
        )
    ]
    moments = [Moment(0.0, 0, {})]
    for seconds, answers, seen in steps:
        known = [
            (one, verdict)
            for (one, verdict), own in zip(verdicts.items(), seen >= np.array(taken), strict=True)
            if own
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
    return sorted((one for one in lesions if one.kind == "free"), key=lambda one: one.amount)


def certified(verdicts: Mapping[Lesion, Verdict]) -> dict[str, float]:
    """Of each removable layer the largest safe ratio with no sensitive one below, if there is one.

    verdicts: of the lesions that have one
    """
    found: dict[str, float] = {}
    ended: set[str] = set()
    for one in removable(verdicts):
        if verdicts[one] is Verdict.SENSITIVE:
            ended.add(one.target)
        elif one.target not in ended:
            found[one.target] = one.amount
    return found


def of_all_images(asked: argparse.Namespace, layers: set[str]) -> dict[str, float]:
    """The rates of the full sweep. Ends with a sentence where it has other images or layers."""
    images, drops = drops_of(asked.full)
    names = [
        f"{layer} {ratio:.1f}" for layer, ratio in zip(drops["layer"], drops["amount"], strict=True)
    ]
    found = rates(dict(zip(names, drops["top1"].tolist(), strict=True)), asked.tolerance)
    if images != asked.images or not layers <= found.keys():
        raise SystemExit(f"{asked.full}: expected the same layers on {asked.images} images.")
    return {layer: found[layer] for layer in layers}


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
        name, f"{seconds:.1f}", grouped(moment.answers), *shares, f"{same} of {len(full)}",
    ]  # fmt: skip


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
    """The share that is certified against time, with parts of the plain loop's time."""
    figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    seconds = np.array([one.seconds for one in watched.moments[1:]])
    share = np.array([watched.cut(one.rates) for one in watched.moments[1:]])
    share *= 100 / watched.cut(full)
    ax.axhline(ASKED, color=PALE, lw=0.8, ls=(0, (1, 2)))
    for part in (*PARTS, 1):
        marked = part == 20
        ax.axvline(
            plain / part, color=COLOURS[0] if marked else PALE, lw=1.4 if marked else 0.8,
            ls=(0, (5, 1.5)) if marked else "-", zorder=1,
        )  # fmt: skip
    ax.step(seconds, share, where="post", color=COLOURS[1], lw=1.8, zorder=3)
    ax.hlines(share[-1], seconds[-1], 1.3 * plain, color=COLOURS[1], lw=1.0, zorder=2)
    ax.plot(seconds[-1], share[-1], "o", color=COLOURS[1], ms=6, zorder=4)
    finish(ax, watched.moments[-1].seconds, float(share[-1]), plain)
    return figure


def finish(ax: Axes, end: float, share: float, plain: float) -> None:
    """Scales, and the names of what is drawn."""
    ax.set_xscale("log")
    ax.set(xlim=(5, 1.3 * plain), ylim=(0, 105))
    ax.xaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("seconds; marked: parts of the plain loop's time", fontsize=FONT)
    ax.set_ylabel("MACs cut by certified rates,\n% of the full sweep's", fontsize=FONT)
    ax.tick_params(labelsize=FONT)
    ax.spines[["top", "right"]].set_visible(False)
    above: dict[str, Any] = {"xycoords": ax.get_xaxis_transform(), "textcoords": "offset points"}
    for part in (*PARTS, 1):
        name = f"1/{part}" if part > 1 else "plain loop\nends"
        ax.annotate(
            name, (plain / part, 1.0), xytext=(0, 2), ha="center", va="bottom", fontsize=FONT,
            color=COLOURS[0] if part == 20 else INK, **above,
        )  # fmt: skip
    ax.annotate(
        f"all decided after {end:.0f} s", (max(end, plain / 20), share), xytext=(6, -3), ha="left",
        va="top", textcoords="offset points", fontsize=FONT, color=COLOURS[1],
    )  # fmt: skip
    ax.annotate(
        f"{ASKED} %", (1.3 * plain, ASKED), xytext=(3, 0), ha="left", va="center",
        textcoords="offset points", fontsize=FONT, color=INK,
    )  # fmt: skip


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
    full = of_all_images(asked, {one.target for one in watched.lesions})
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
