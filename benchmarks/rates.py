"""Rates by the study against one rate for all and a global ranking, at the same MACs.

    python benchmarks/rates.py --network demo:resnet20 --train FOLDER --recover finetune:20 \
        -o rates.md

For each seed the study measures some of its images and keeps half of all back; rates are
recommended from the study alone, refined on its images, found for retraining (by lesions that
recovered, then measured after the finetune on the study's images), and compared on those kept
back, all applied as exact removal: as they are, and after the same short finetunes on the training
images in a folder of Fashion-MNIST's original files, in orders by which nothing was chosen. An
image scores the share of finetunes after which it is right. Differences are paired, image by image,
all seeds together.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from subjects import add_arguments, named, opened, table

import lesion
from lesion.joint.baselines import ranked
from lesion.joint.bench import Bench
from lesion.joint.level import one_rate
from lesion.joint.refine import refine
from lesion.lesions.lesion import Joint
from lesion.rates.allocation import Allocation
from lesion.rates.budget import Budget
from lesion.results.drops import paired
from lesion.results.reading import Reading
from lesion.subject.outcomes import Intact

WAYS = {
    False: ("recommended", "refined", "uniform", "global l1"),
    True: ("recommended", "for retraining", "uniform", "global l1"),
}
PAIRS = {
    False: (("recommended", "uniform"), ("refined", "uniform"), ("refined", "global l1")),
    True: (
        ("recommended", "uniform"),
        ("for retraining", "uniform"),
        ("for retraining", "global l1"),
    ),
}


UNSEEN = 2  # the first order of training images by which `refine` did not choose


@dataclass(frozen=True)
class Found:
    """What is right on the images kept back: (orders, images) booleans for each way."""

    left: float
    tuned: bool
    right: dict[str, np.ndarray]


def compared(asked: argparse.Namespace, seed: int, folder: Path) -> Iterator[Found]:
    """Each budget's outcomes, as they are and finetuned."""
    subject, study = opened(asked, seed, folder)
    with study:
        bench = Bench.of(study, replace(subject, train=None))
        recovery = f"finetune:{asked.steps}" if asked.train else ""
        benches = {"": bench, recovery: Bench.of(study, subject, recovery) if recovery else bench}
        rates = {
            left: ways(study, bench, benches[recovery], Budget(macs=left), asked)
            for left in asked.left
        }
        intact = bench.intact(study.header.holdout)
        for recovery, bench in benches.items():
            orders = range(UNSEEN, UNSEEN + asked.orders) if recovery else (0,)
            for left, allocations in rates.items():
                right = judged(study, bench, allocations, intact, orders)
                tell(seed, recovery, left, allocations, right)
                yield Found(left, bool(recovery), right)


def judged(
    study: lesion.Study,
    bench: Bench,
    rates: dict[str, Allocation],
    intact: Intact,
    orders: Iterable[int],
) -> dict[str, np.ndarray]:
    """(orders, images) booleans for each way; ways of the same rates are measured once."""
    right: dict[str, np.ndarray] = {}
    for way, allocation in rates.items():
        same = [right[earlier] for earlier in right if rates[earlier].filters == allocation.filters]
        right[way] = same[0] if same else measured(study, bench, allocation, intact, orders)
    return right


def measured(
    study: lesion.Study,
    bench: Bench,
    allocation: Allocation,
    intact: Intact,
    orders: Iterable[int],
) -> np.ndarray:
    """(orders, images) booleans of one way."""
    units, gone = tuple(rate.unit for rate in allocation.cut), allocation.dropped(study.anatomy)
    hits = []
    for order in orders:
        cut = {Joint(units, seed=order): gone}
        (outcomes,) = bench.outcomes(cut, study.header.holdout, intact).values()
        hits.append(outcomes["top1"])
    return np.stack(hits)


def kept(asked: argparse.Namespace, seed: int, folder: Path) -> list[Found]:
    """What `compared` gives, read where an earlier run has kept it."""
    path = asked.parts and asked.parts / f"{named(asked)}-{seed}.npz"
    if path and path.exists():
        by_key: dict[tuple[float, bool], dict[str, np.ndarray]] = {}
        for key, right in np.load(path).items():
            left, tuned, way = key.split("|")
            by_key.setdefault((float(left), tuned == "True"), {})[way] = right
        return [Found(*key, right) for key, right in by_key.items()]
    made = list(compared(asked, seed, folder))
    if path:
        arrays = {
            f"{part.left}|{part.tuned}|{way}": right
            for part in made
            for way, right in part.right.items()
        }
        np.savez(path, allow_pickle=False, **arrays)
    return made


def ways(
    study: lesion.Study, bench: Bench, tuned: Bench, budget: Budget, asked: argparse.Namespace
) -> dict[str, Allocation]:
    """The study's rates, those refined, those for retraining, and the baselines for the budget."""
    recommended, reading = lesion.recommend(study, budget=budget), Reading.of(study)
    by_way = {
        "recommended": recommended,
        "refined": refine(
            study, bench, recommended, budget, images=asked.tried, rounds=asked.rounds
        ),
        "uniform": one_rate(reading, budget),
        "global l1": ranked(reading, recommended),
    }
    if asked.train:
        way = asked.recover or ""
        first = lesion.recommend(study, budget=budget, after=way)
        by_way["for retraining"] = refine(
            study, tuned, first, budget, images=asked.judged, after=way
        )
    return by_way


def tell(
    seed: int,
    recovery: str,
    left: float,
    rates: dict[str, Allocation],
    right: dict[str, np.ndarray],
) -> None:
    """How far it is, to standard error."""
    cells = (
        f"{way} {100 * right[way].mean():.2f} % "
        f"({100 * allocation.pruned.macs / allocation.intact.macs:.1f} % of MACs)"
        for way, allocation in rates.items()
    )
    print(seed, recovery or "one-shot", left, *cells, sep=", ", file=sys.stderr, flush=True)


def rows(network: str, parts: list[Found], tuned: bool) -> Iterator[tuple[str, ...]]:
    """The cells of a table, seeds together."""
    for left in dict.fromkeys(part.left for part in parts):
        seeds = [part.right for part in parts if (part.left, part.tuned) == (left, tuned)]
        right = {way: np.concatenate([share(seed[way]) for seed in seeds]) for way in WAYS[tuned]}
        gains = (
            100 * np.array(paired(right[first], right[second], 0.95))
            for first, second in PAIRS[tuned]
        )
        yield (
            network,
            f"{100 * left:.0f} %",
            *(f"{100 * shares.mean():.2f}" for shares in right.values()),
            *(f"{gain:+.2f} [{low:+.2f}, {high:+.2f}]" for gain, low, high in gains),
        )


def share(right: np.ndarray) -> np.ndarray:
    """(images,): booleans of one order, or the share of several that are right."""
    return right[0] if len(right) == 1 else right.mean(axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_arguments(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--left", type=float, nargs="+", default=[0.3, 0.5, 0.7])
    parser.add_argument("--tried", type=int, default=2000, help="images that rates are refined on")
    parser.add_argument("--rounds", type=int, default=6, help="of refining")
    parser.add_argument("--judged", type=int, default=5000, help="images after the finetune")
    parser.add_argument("--parts", type=Path, help="a folder that keeps each seed's outcomes")
    parser.add_argument("--steps", type=int, default=200, help="of a finetune")
    parser.add_argument("--orders", type=int, default=3, help="finetunes of each set of rates")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        parts = [part for seed in asked.seeds for part in kept(asked, seed, Path(folder))]
    for tuned in sorted({part.tuned for part in parts}):
        pairs = (f"{first} − {second}" for first, second in PAIRS[tuned])
        header = ("finetuned" if tuned else "one-shot", "MACs left", *WAYS[tuned], *pairs)
        table(header, list(rows(named(asked), parts, tuned)), asked.out)


if __name__ == "__main__":
    main()
