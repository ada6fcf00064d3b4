"""Mixed advice beside one damage for all layers, within budgets of bytes and bit operations.

    python benchmarks/mixed.py --network demo:resnet20 --images 1000 --out mixed.md

The study measures every lesion of filters, bits, zeros, ranks and pairs of bits and zeros on
`--images` images.  Rates within a budget are measured together on images kept back, paired with the
best of: one number of bits for all layers; filters alone; low rank alone; zeros alone; and a greedy
search as in HAQ's controls (Wang et al. 2019): all layers in most bits, then the layer that loses
least for what it saves takes a step down, until the budget is met.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from subjects import add_arguments, named, of_damages, table

import lesion
from lesion import zoo
from lesion.errors import LesionError
from lesion.joint.baselines import one_amount
from lesion.joint.bench import Bench
from lesion.lesions.lesion import Joint
from lesion.rates.allocate import described, footprints
from lesion.rates.allocation import Allocation
from lesion.rates.budget import RESOURCES, Budget
from lesion.rates.candidates import Candidate
from lesion.rates.layer_options import measured_options, weights_of
from lesion.rates.recommend import choosing
from lesion.results.drops import paired
from lesion.results.reading import Reading
from lesion.study.study import Study

BITS = "quantise:clip=mse"
DAMAGES = {
    "filters": (0.125, 0.25, 0.375, 0.5, 0.625, 0.75),
    BITS: (8, 6, 5, 4, 3, 2),
    "quantise:clip=mse,sparse=0.5": (6, 4, 3, 2),
    "quantise:clip=mse,sparse=0.75": (6, 4, 3),
    "sparsity": (0.5, 0.75, 0.9),
    "low_rank:form=spatial": (0.25, 0.5, 0.75),
}
HEADER = ("network", "budget", "rates", "of it", "baseline", "top-1", "drop", "mixed − these")


def ways(study: Study, resource: str, share: float) -> Iterator[tuple[str, Allocation]]:
    """The rates to compare, each within the budget; those that cannot be are left out."""
    budget = Budget(**{resource: share})
    for by in ("margins", "drops"):
        yield f"mixed, by {by}", lesion.recommend(study, budget=budget, by=by)
    every = choosing(study)
    for reading in every.others:
        met = (way for way in one_amount(reading) if costs(way, study, resource) <= share)
        if made := next(met, None):
            yield f"all {made.goal}", made
    for name, damage in (("filters alone", "filters"), ("low rank alone", "low_rank:form=spatial")):
        try:
            yield name, lesion.recommend(study, budget=budget, damage=damage)
        except LesionError as error:
            print(f"{name}: {error}", file=sys.stderr)
    bits = next(reading for reading in every.others if reading.damage == BITS)
    if made := greedy(bits, resource, share):
        yield "greedy bits", made


def costs(made: Allocation, study: Study, resource: str) -> float:
    """The share of a resource that is left."""
    whole, left = footprints(study.anatomy, made)
    return float(getattr(left, resource) / getattr(whole, resource))


def greedy(reading: Reading, resource: str, share: float) -> Allocation | None:
    """Steps down of the layer that loses least for what it saves, from most bits for all."""
    layers: dict[str, list[Candidate]] = {}
    for option in measured_options(reading):
        assert option.lesion is not None
        layers.setdefault(weights_of(option.lesion.target), []).append(option)
    at = dict.fromkeys(layers, 0)

    def made(places: dict[str, int]) -> Allocation:
        return described(reading, {name: layers[name][p] for name, p in places.items()}, "greedy")

    now = made(at)
    while costs(now, reading.study, resource) > share:
        steps = []
        for name, place in at.items():
            if place + 1 < len(layers[name]):
                there = made({**at, name: place + 1})
                saved = costs(now, reading.study, resource) - costs(there, reading.study, resource)
                lost = layers[name][place + 1].drop - layers[name][place].drop
                steps.append((lost / max(saved, 1e-12), name))
        if not steps:
            return None
        at[min(steps)[1]] += 1
        now = made(at)
    return now


def rows(asked: argparse.Namespace, folder: Path) -> Iterator[tuple[str, ...]]:
    """A row a budget and kind of rates."""
    subject = zoo.open_subject(asked.network, asked.weights, "demo:fashion-mnist")
    with of_damages(asked.study or folder / "mixed.lesion", asked, DAMAGES) as study:
        bench = Bench.of(study, replace(subject, train=None))
        held = study.header.holdout[: asked.judged]
        intact = bench.intact(held)
        base = intact.outcomes["top1"]
        for resource in ("bytes", "bops"):
            for share in asked.left:
                scores = {}
                for name, made in ways(study, resource, share):
                    joint = Joint(tuple(rate.unit for rate in made.cut))
                    outcomes = bench.outcomes({joint: bench.edit(made)}, held, intact)[joint]
                    scores[name] = outcomes["top1"], costs(made, study, resource)
                mixed = scores["mixed, by margins"][0]
                for name, (right, left) in scores.items():
                    drop = 100 * np.array(paired(base, right, 0.95))
                    ahead = 100 * np.array(paired(right, mixed, 0.95))
                    ahead = -ahead[[0, 2, 1]]
                    yield (
                        named(asked),
                        f"{100 * share:g} % of the {RESOURCES[resource]}",
                        name,
                        f"{100 * left:.1f} %",
                        f"{100 * base.mean():.2f}",
                        f"{100 * right.mean():.2f}",
                        f"{drop[0]:+.2f} [{drop[1]:+.2f}, {drop[2]:+.2f}]",
                        f"{ahead[0]:+.2f} [{ahead[1]:+.2f}, {ahead[2]:+.2f}]",
                    )
                    print(resource, share, name, f"{100 * right.mean():.2f}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_arguments(parser)
    parser.add_argument("--left", type=float, nargs="+", default=[0.25, 0.125, 0.0625])
    parser.add_argument("--judged", type=int, default=5000, help="images kept back to measure on")
    parser.add_argument("--study", type=Path, help="a file of the study, to go on with")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table(HEADER, list(rows(asked, Path(folder))), asked.out)


if __name__ == "__main__":
    main()
