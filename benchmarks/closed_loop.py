"""Ten tolerances: do the rates that the closed loop certifies keep them, and at what price?

    python benchmarks/closed_loop.py --network demo:resnet20 -o closed_loop.md

Each tolerance starts from the rates of half the MACs, in a copy of one study, so that no check
knows of another. What is certified is measured once more on all images kept back.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
from subjects import add_arguments, named, opened, table

from lesion.joint.bench import Bench
from lesion.joint.closed_loop import tightened
from lesion.joint.verifier import Verifier
from lesion.lesions.lesion import Joint
from lesion.rates.budget import Budget
from lesion.rates.recommend import recommend
from lesion.results.reading import Reading
from lesion.study.aim import Aim
from lesion.study.study import Study

HEADER = (
    "network",
    "tolerance",
    "rounds",
    "images kept back that were seen, by round",
    "MACs left (%)",
    "certified",
    "drop on all images kept back",
)
TOLERANCES = (0.5, 1, 1.5, 2, 3, 4, 5, 7, 10, 15)


def rows(asked: argparse.Namespace, folder: Path) -> list[tuple[str, ...]]:
    """A row a tolerance."""
    subject, original = opened(asked, 0, folder)
    original.close()
    cells: list[tuple[str, ...]] = []
    for tolerance in asked.tolerances:
        path = Path(shutil.copy(original.path, folder / f"{tolerance}.lesion"))
        with Study.open(path) as study:
            bench = Bench.of(study, subject)
            budget = Budget(macs=asked.left)
            verifier = Verifier(study, bench, Aim(tolerance))
            result = tightened(
                verifier,
                Reading.of(study),
                recommend(study, budget=budget),
                budget,
                asked.rounds,
                asked.tried,
            )
            last = result.final.allocation
            joint = Joint(tuple(rate.unit for rate in last.cut))
            whole = bench.outcomes(
                {joint: last.dropped(study.anatomy)}, study.header.holdout, verifier.intact
            )[joint]
            base = verifier.intact.outcomes["top1"]
            drop = 100 * (base.astype(float) - whole["top1"]).mean()
            cells.append(
                (
                    named(asked),
                    f"{tolerance:g}",
                    str(len(result.checks)),
                    ", ".join(str(check.images) for check in result.checks),
                    f"{100 * last.pruned.macs / last.intact.macs:.1f}",
                    "yes" if result.certified else "no",
                    f"{drop:.2f}",
                )
            )
            print(*cells[-1], sep=" | ", flush=True)
            assert np.isfinite(drop)
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_arguments(parser)
    parser.add_argument("--tolerances", type=float, nargs="+", default=TOLERANCES)
    parser.add_argument("--rounds", type=int, default=2, help="of refining, before each check")
    parser.add_argument("--tried", type=int, default=2000, help="images that rates are refined on")
    parser.add_argument("--left", type=float, default=0.5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table(HEADER, rows(asked, Path(folder)), asked.out)


if __name__ == "__main__":
    main()
