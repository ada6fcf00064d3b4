"""How well a table of layers' times foretells the time of the pruned network.

    python benchmarks/latency.py --network demo:resnet20 -o latency.md

The table is measured once, on the intact network's layers at a few widths. Then networks are pruned
for good, by rates that fit budgets of latency and by one rate for all units, and timed side by side
with the intact one, in turns; medians are shown.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import median

import torch
from subjects import add_arguments, named, opened, table
from torch import nn
from torch.utils.benchmark import Timer

import lesion
from lesion.errors import LesionError
from lesion.exports.pruned import apply
from lesion.joint.baselines import uniform
from lesion.network.dissect import dissect
from lesion.rates.allocate import reading_of, timed
from lesion.rates.budget import Budget
from lesion.rates.latency import time_layers
from lesion.subject.network import evaluating
from lesion.sweeps.workers import example_of

HEADER = (
    "network",
    "rates",
    "MACs left",
    "predicted (ms)",
    "measured (ms)",
    "error",
    "predicted share",
    "measured share",
)
TURNS = 7


def in_turns(networks: list[nn.Module], images: torch.Tensor) -> list[float]:
    """The median milliseconds of each, the networks taking turns."""
    times: list[list[float]] = [[] for _ in networks]
    for _ in range(TURNS):
        for series, network in zip(times, networks, strict=True):
            timer = Timer(
                "net(x)",
                globals={"net": network.eval(), "x": images},
                num_threads=torch.get_num_threads(),
            )
            with torch.inference_mode():
                series.append(1000 * timer.blocked_autorange(min_run_time=0.3).median)
    return [median(series) for series in times]


def rows(asked: argparse.Namespace, folder: Path) -> list[tuple[str, ...]]:
    """A row a pruned network."""
    torch.set_num_threads(asked.threads)
    subject, study = opened(asked, 0, folder)
    with study, evaluating(subject.network):
        dissection = dissect(subject.network, subject.outputs, example_of(subject))
        times = time_layers(dissection, subject.example, asked.batch)
        rates = {}
        for left in asked.left:
            try:
                allocation = lesion.recommend(study, budget=Budget(latency=left), times=times)
            except LesionError as error:
                print(error)
                continue
            rates[f"{100 * left:.0f} % of the time"] = allocation
            left_macs = allocation.pruned.macs / allocation.intact.macs
            rates[f"uniform, {100 * left_macs:.0f} % of the MACs"] = uniform(
                reading_of(study, allocation), allocation
            )
        small = [
            apply(allocation, subject.network, subject.example, subject.adapter)
            for allocation in rates.values()
        ]
        images = subject.images.batch(range(asked.batch))[0]
        whole, *measured = in_turns([subject.network, *small], images)
        intact = (
            named(asked),
            "none",
            "100.0 %",
            f"{times.whole:.2f}",
            f"{whole:.2f}",
            f"{100 * (times.whole / whole - 1):+.1f} %",
            "100 %",
            "100 %",
        )
        cells: list[tuple[str, ...]] = [intact]
        for (name, allocation), milliseconds in zip(rates.items(), measured, strict=True):
            predicted = timed(allocation, reading_of(study, allocation), times).milliseconds[1]
            cells.append(
                (
                    named(asked),
                    name,
                    f"{100 * allocation.pruned.macs / allocation.intact.macs:.1f} %",
                    f"{predicted:.2f}",
                    f"{milliseconds:.2f}",
                    f"{100 * (predicted / milliseconds - 1):+.1f} %",
                    f"{100 * predicted / times.whole:.0f} %",
                    f"{100 * milliseconds / whole:.0f} %",
                )
            )
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_arguments(parser)
    parser.add_argument("--left", type=float, nargs="+", default=[0.8, 0.6, 0.4])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table(HEADER, rows(asked, Path(folder)), asked.out)


if __name__ == "__main__":
    main()
