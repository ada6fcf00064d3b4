"""How well a table of times foretells the time of the pruned network.

    python benchmarks/latency.py --network demo:resnet20 --with onnxruntime -o latency.md

The table is measured once, as `lesion time` does. Then networks are pruned for good, by rates that
fit budgets of latency and by one rate for all units, none of which was timed for the table, and
timed side by side with the intact one, in turns; medians are shown.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import median

import torch
from subjects import add_arguments, named, opened, table
from torch import nn

import lesion
from lesion.errors import LesionError
from lesion.exports.pruned import apply
from lesion.joint.baselines import uniform
from lesion.network.dissect import dissect
from lesion.rates.allocate import reading_of, timed
from lesion.rates.budget import Budget
from lesion.rates.runtimes import RUNTIMES, Runtime, clock
from lesion.rates.whole_times import time_network
from lesion.subject.network import evaluating
from lesion.sweeps.workers import example_of

HEADER = (
    "network",
    "runtime",
    "rates",
    "MACs left",
    "measured (ms)",
    "predicted share",
    "measured share",
    "error",
)
TURNS = 9


def in_turns(
    networks: list[nn.Module], images: torch.Tensor, runtime: Runtime | None
) -> list[float]:
    """The median milliseconds of each, the networks taking turns."""
    with torch.inference_mode():
        clocks = [clock(runtime, network.eval(), [images]) for network in networks]
        times = [[each() for each in clocks] for _ in range(TURNS)]
    return [median(series) for series in zip(*times, strict=True)]


def rows(asked: argparse.Namespace, folder: Path) -> list[tuple[str, ...]]:
    """A row a pruned network."""
    torch.set_num_threads(asked.threads)
    runtime = RUNTIMES[asked.runtime]
    subject, study = opened(asked, 0, folder)
    with study, evaluating(subject.network):
        dissection = dissect(subject.network, subject.outputs, example_of(subject))
        times = time_network(dissection, subject.example, asked.batch, runtime)
        print(f"{named(asked)}, {asked.runtime}: {times.known}")
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
        whole, *measured = in_turns([subject.network, *small], images, runtime)
        intact = (named(asked), asked.runtime, "none", "100.0 %", f"{whole:.2f}", "100 %", "100 %")
        cells: list[tuple[str, ...]] = [(*intact, "")]
        for (name, allocation), milliseconds in zip(rates.items(), measured, strict=True):
            full, left, _ = timed(allocation, reading_of(study, allocation), times).milliseconds
            cells.append(
                (
                    named(asked),
                    asked.runtime,
                    name,
                    f"{100 * allocation.pruned.macs / allocation.intact.macs:.1f} %",
                    f"{milliseconds:.2f}",
                    f"{100 * left / full:.1f} %",
                    f"{100 * milliseconds / whole:.1f} %",
                    f"{100 * (left / full / (milliseconds / whole) - 1):+.1f} %",
                )
            )
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_arguments(parser)
    parser.add_argument("--left", type=float, nargs="+", default=[0.8, 0.6, 0.4])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--with", dest="runtime", choices=RUNTIMES, default="torch")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table(HEADER, rows(asked, Path(folder)), asked.out)


if __name__ == "__main__":
    main()
