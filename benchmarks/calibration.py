"""How well single lesions foretell joint ones, and how often the upper prediction holds.

    python benchmarks/calibration.py --network demo:resnet20 -o calibration.md

A study measures every lesion; `lesion calibrate` measures random sets of rates on its images; then
other random sets are measured on the images kept back, and compared with what was predicted. Three
ways stand side by side: the sum of drops, the product of accuracies, and margins moved image by
image; the upper prediction is that of the last.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from subjects import add_arguments, named, opened, table

from lesion.joint.bench import Bench
from lesion.joint.calibrate import calibrate, random_sets
from lesion.lesions.lesion import Joint
from lesion.rates.budget import Budget
from lesion.rates.candidates import candidates, dropped
from lesion.rates.prediction import WAYS, basis
from lesion.results.reading import Reading

HEADER = (
    "network",
    "predicted by",
    "sets",
    "bias",
    "root mean square error",
    "rank correlation",
    "upper prediction for 1, 5, 10 points",
    "held by",
    "of it too high by, median (points)",
    "the same of sets that lose up to 5",
)
LIGHT = 5  # points


def measured(asked: argparse.Namespace, folder: Path) -> list[tuple[str, ...]]:
    """The rows of a network."""
    subject, study = opened(asked, 0, folder)
    with study:
        bench = Bench.of(study, subject)
        known = calibrate(study, bench, sets=asked.calibration)
        reading = Reading.of(study)
        units = candidates(reading, Budget())
        drawn = list(random_sets(units, asked.sets, np.random.default_rng(1)))
        held = study.header.holdout
        intact = bench.intact(held)
        taken = [{unit: units[unit][at] for unit, at in rates.items()} for rates in drawn]
        cuts = {Joint(tuple(cut), n): dropped(study.anatomy, cut) for n, cut in enumerate(taken)}
        outcomes = bench.outcomes(cuts, held, intact).values()
        base = intact.outcomes["top1"].mean()
        drops = np.array([100 * (base - lesioned["top1"].mean()) for lesioned in outcomes])
        whole = [dict.fromkeys(units, 0) | rates for rates in drawn]
        ways = {by: basis(reading, units, by) for by in WAYS}
    predictions = {by: [way.predicted(choice) for choice in whole] for by, way in ways.items()}
    composed = {
        "sum of drops": np.array([sum(choice.drop for choice in cut.values()) for cut in taken]),
        "product of accuracies": np.array([joint.drop for joint in predictions["drops"]]),
        "margins": np.array([joint.drop for joint in predictions["margins"]]),
    }
    upper = np.array([known.upper(joint.high) for joint in predictions["margins"]])
    rows: list[tuple[str, ...]] = []
    for way, predicted in composed.items():
        error = predicted - drops
        last = ("",) * 4
        if way == "margins":
            over, light = upper - drops, drops <= LIGHT
            last = (
                ", ".join(f"{known.upper(points):.1f}" for points in (1, 5, 10)),
                f"{(over >= 0).sum()} of {len(drops)}",
                f"{np.median(over):.1f}",
                f"{np.median(over[light]):.1f} ({light.sum()} sets)",
            )
        rows.append(
            (
                named(asked),
                way,
                str(len(drops)),
                f"{error.mean():+.2f}",
                f"{np.sqrt((error**2).mean()):.2f}",
                f"{spearmanr(predicted, drops)[0]:.3f}",
                *last,
            )
        )
    if asked.points:
        points = np.column_stack([composed["margins"], upper, drops])
        np.savetxt(
            asked.points, points, "%.4f", ",", header="predicted,upper,measured", comments=""
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_arguments(parser)
    parser.add_argument("--sets", type=int, default=60, help="random sets that are predicted")
    parser.add_argument("--calibration", type=int, default=59, help="and those learned from")
    parser.add_argument("--points", type=Path, help="a CSV file for the points")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table(HEADER, measured(asked, Path(folder)), asked.out)


if __name__ == "__main__":
    main()
