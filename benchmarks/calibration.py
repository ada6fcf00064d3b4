"""How well single drops foretell joint ones, and how often the upper prediction holds.

    python benchmarks/calibration.py --network demo:resnet20 -o calibration.md

A study measures every lesion; `lesion calibrate` measures random sets of rates on its images; then
other random sets are measured on the images kept back, and compared with what was predicted. Ways
to compose single drops stand side by side: their sum, the product of accuracies.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from subjects import add_arguments, opened, table

from lesion.allocating import choices
from lesion.budget import Budget
from lesion.calibrating import calibrate, random_sets
from lesion.candidates import dropped
from lesion.composing import joint_drop, losses
from lesion.plan import Joint
from lesion.together import Bench

HEADER = (
    "network", "composed by", "sets", "bias", "root mean square error", "rank correlation",
    "factor of the upper prediction", "held by", "of it too high by, median (points)",
)  # fmt: skip


def measured(asked: argparse.Namespace, folder: Path) -> list[tuple[str, ...]]:
    """The rows of a network."""
    subject, study = opened(asked, 0, folder)
    with study:
        bench = Bench.of(study, subject)
        known = calibrate(study, bench, sets=asked.calibration)
        found = choices(study, Budget(), "l1", "top1")
        drawn = list(random_sets(found, asked.sets, np.random.default_rng(1)))
        held = study.header.holdout
        intact = bench.intact(held)
        cuts = {Joint(tuple(one), n): dropped(study.anatomy, one) for n, one in enumerate(drawn)}
        outcomes = bench.outcomes(cuts, held, intact).values()
        base = intact.outcomes["top1"].mean()
        drops = np.array([100 * (base - one["top1"].mean()) for one in outcomes])
    single = [np.array([one.drop for one in own.values()]) for own in drawn]
    highs = [np.array([one.high for one in own.values()]) for own in drawn]
    composed = {
        "sum": np.array([own.sum() for own in single]),
        "product": np.array([joint_drop(losses(own, known.baseline).sum(), known.baseline)
                             for own in single]),
    }  # fmt: skip
    upper = np.array([
        known.upper(joint_drop(losses(own, known.baseline).sum(), known.baseline)) for own in highs
    ])  # fmt: skip
    rows = []
    for way, predicted in composed.items():
        error = predicted - drops
        last = (
            (f"{known.factor:.2f}", f"{(drops <= upper).sum()} of {len(drops)}",
             f"{np.median(upper - drops):.1f}")
            if way == "product" else ("", "", "")
        )  # fmt: skip
        rows.append((
            asked.network, way, str(len(drops)), f"{error.mean():+.2f}",
            f"{np.sqrt((error**2).mean()):.2f}", f"{spearmanr(predicted, drops)[0]:.3f}", *last,
        ))  # fmt: skip
    if asked.points:
        points = np.column_stack([composed["product"], upper, drops])
        np.savetxt(asked.points, points, "%.4f", ",", header="predicted,upper,measured",
                   comments="")  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_arguments(parser)
    parser.add_argument("--sets", type=int, default=60, help="random sets that are predicted")
    parser.add_argument("--calibration", type=int, default=40, help="and those learned from")
    parser.add_argument("--points", type=Path, help="a CSV file for the points")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table(HEADER, measured(asked, Path(folder)), asked.out)


if __name__ == "__main__":
    main()
