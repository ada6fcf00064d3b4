"""What it is worth to choose channels anew while a network is retrained, and to have a teacher.

    python benchmarks/dynamic_masks.py --train FOLDER -o dynamic_masks.md

Rates of a study, recommended and one for all, are retrained for equally many batches of 128 in each
way, and measured on images kept back: mean and standard deviation over seeds, by which the batches
are ordered.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from subjects import add_arguments, named, opened, table

import lesion
from lesion.joint.bench import Bench
from lesion.joint.level import one_rate
from lesion.lesions.lesion import Joint
from lesion.rates.budget import Budget
from lesion.results.reading import Reading

MASKS = ("gdp", "dns", "soft", "agp")
WAYS = ("recommended", "uniform")


def recoveries(steps: int, every: int, attention: float) -> list[str]:
    """Each way to retrain."""
    masked = [f"finetune:{steps},masks={way},every={every}" for way in MASKS]
    taught = [f"distill:{steps}", f"distill:{steps},attention={attention:g}"]
    return [f"finetune:{steps}", *masked, *taught]


def measured(
    asked: argparse.Namespace, folder: Path
) -> Iterator[tuple[str, str, float, float, float]]:
    """(recovery, way, top-1 in per cent, channels of which others fell in per cent, seconds)."""
    subject, study = opened(asked, 0, folder)
    with study:
        held, budget = study.header.holdout[: asked.judged], Budget(macs=asked.left)
        recommended = lesion.recommend(study, budget=budget)
        rates = dict(zip(WAYS, (recommended, one_rate(Reading.of(study), budget)), strict=True))
        intact = Bench.of(study, replace(subject, train=None)).intact(held)
        print(f"intact {100 * float(intact.outcomes['top1'].mean()):.2f}", file=sys.stderr)
        for seed in asked.seeds:
            for recovery in recoveries(asked.steps, asked.every, asked.attention):
                bench = Bench.of(study, subject, recovery)
                for way in asked.ways:
                    start, gone = time.monotonic(), rates[way].dropped(study.anatomy)
                    joint = Joint(tuple(rate.unit for rate in rates[way].cut), seed=seed)
                    (outcomes,) = bench.outcomes({joint: gone}, held, intact).values()
                    seconds = time.monotonic() - start
                    fallen = bench.engine.fallen(joint, bench.engine.edit(joint.at, gone)).dropped
                    others = 100 * float((fallen & ~gone).sum() / gone.sum())
                    yield recovery, way, 100 * float(outcomes["top1"].mean()), others, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_arguments(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--left", type=float, default=0.3, help="share of the MACs")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="which rates")
    parser.add_argument("--judged", type=int, default=2000, help="images kept back to measure on")
    parser.add_argument("--steps", type=int, default=100, help="batches of 128")
    parser.add_argument("--every", type=int, default=10, help="steps from choice to choice")
    parser.add_argument("--attention", type=float, default=10.0, help="its weight")
    asked = parser.parse_args()
    cells: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for recovery, way, right, others, seconds in measured(asked, Path(folder)):
            cells.setdefault((way, recovery), []).append((right, others, seconds))
            print(way, recovery, f"{right:.2f}, {others:.0f} % others, {seconds:.0f} s",
                  sep=", ", file=sys.stderr, flush=True)  # fmt: skip
    rows = []
    for (way, recovery), values in sorted(cells.items(), key=lambda cell: WAYS.index(cell[0][0])):
        right, others, seconds = np.mean(values, axis=0)
        spread = np.std([value[0] for value in values], ddof=1) if len(values) > 1 else 0.0
        result = f"{right:.2f} ± {spread:.2f}"
        rows.append((named(asked), way, recovery, result, f"{others:.0f} %", f"{seconds:.0f}"))
    header = ("network", "rates", "recovery", "top-1", "others fell", "seconds")
    table(header, rows, asked.out)


if __name__ == "__main__":
    main()
