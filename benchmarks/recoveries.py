"""What recoveries are worth: networks cut by rates, mended or retrained, on images kept back.

    python benchmarks/recoveries.py --network demo:resnet20 --train FOLDER -o recoveries.md

For each share of the multiply-accumulates the study's rates, those refined after `reconstruct,bn`
on the study's images, the smallest rate for all units that meets it, and a global ranking of
filters; each as it is, after recoveries without training, after a finetune, and after both.  The
study measures every lesion on `--images` images, one-shot; half of the images are kept back.  Means
over the seeds of split and training images.
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
from lesion.joint.baselines import ranked
from lesion.joint.bench import Bench
from lesion.joint.level import one_rate
from lesion.joint.refine import refined
from lesion.lesions.lesion import Joint
from lesion.rates.allocation import Allocation
from lesion.rates.budget import Budget
from lesion.results.reading import Reading

RECOVERIES = ("", "bias", "bn", "fold", "reconstruct", "reconstruct,bn")
WAYS = ("recommended", "refined", "uniform", "global l1")
MEND = "reconstruct,bn"


def measured(
    asked: argparse.Namespace, seed: int, folder: Path
) -> Iterator[tuple[float, str, str, float, float]]:
    """(share, recovery, way, top-1 in per cent, seconds) of one split; the intact one's first."""
    subject, study = opened(asked, seed, folder)
    with study:
        reading, held = Reading.of(study), study.header.holdout[: asked.judged]
        plain = Bench.of(study, replace(subject, train=None))
        intact = plain.intact(held)
        yield 1.0, "", "", 100 * float(intact.outcomes["top1"].mean()), 0.0
        mended = Bench.of(study, subject, MEND)
        rates = {left: ways(reading, mended, left, asked.tried) for left in asked.left}
        trained = (f"finetune:{asked.steps}", f"reconstruct,finetune:{asked.steps}")
        for recovery in (*RECOVERIES, *(trained if asked.steps else ())):
            bench = Bench.of(study, subject, recovery) if recovery else plain
            for left, allocations in rates.items():
                for way, allocation in allocations.items():
                    start = time.monotonic()
                    joint = Joint(tuple(rate.unit for rate in allocation.cut), seed=seed)
                    gone = {joint: allocation.dropped(study.anatomy)}
                    (outcomes,) = bench.outcomes(gone, held, intact).values()
                    right = 100 * float(outcomes["top1"].mean())
                    yield left, recovery, way, right, time.monotonic() - start


def ways(reading: Reading, mended: Bench, left: float, images: int) -> dict[str, Allocation]:
    """The rates that meet a budget; mended: on which rates are refined, by so many images."""
    budget = Budget(macs=left)
    recommended = lesion.recommend(reading.study, budget=budget)
    even = one_rate(reading, budget)
    rates = (
        recommended,
        refined(reading, mended, even or recommended, budget, images),
        even,
        ranked(reading, recommended),
    )
    return {way: made for way, made in zip(WAYS, rates, strict=True) if made is not None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_arguments(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--left", type=float, nargs="+", default=[0.7, 0.5, 0.3])
    parser.add_argument("--tried", type=int, default=1000, help="images that rates are refined on")
    parser.add_argument("--judged", type=int, default=5000, help="images kept back to measure on")
    parser.add_argument("--steps", type=int, default=100, help="of a finetune, 0 for none")
    asked = parser.parse_args()
    cells: dict[tuple[float, str, str], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in asked.seeds:
            for left, recovery, way, right, seconds in measured(asked, seed, Path(folder)):
                cells.setdefault((left, recovery, way), []).append((right, seconds))
                print(seed, left, recovery or "one-shot", way, f"{right:.2f}", f"{seconds:.1f} s",
                      sep=", ", file=sys.stderr, flush=True)  # fmt: skip
    means = {key: np.mean(values, axis=0) for key, values in cells.items()}
    whole = f"{means.pop((1.0, '', ''))[0]:.2f}"
    rows = [
        (
            named(asked),
            f"{100 * left:.0f} %",
            recovery or "none",
            whole,
            *(f"{means[left, recovery, way][0]:.2f}" for way in WAYS),
            f"{means[left, recovery, WAYS[0]][1]:.0f}",
        )
        for left, recovery in dict.fromkeys(key[:2] for key in means)
    ]
    rows.sort(key=lambda row: -float(row[1].split()[0]))
    table(("network", "MACs left", "recovery", "baseline", *WAYS, "seconds"), rows, asked.out)


if __name__ == "__main__":
    main()
