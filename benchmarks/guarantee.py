"""How often a simulated study claims what is false, beside ordinary intervals looked at early.

    python benchmarks/guarantee.py --studies 10000 -o guarantee.md
    python benchmarks/guarantee.py --allocation

A study has 28 layers × 9 ratios. The drop of every cell is planted where a claim is just false: one
image beyond the tolerance for SAFE, at the tolerance for SENSITIVE. Broken images lie among those
of low margin, of high margin, or anywhere; some images are repaired. Every cell is looked at after
every step. A cell is given up once its wealth against the true null is below 1/1000 of what it
started with: what that hides is at most 1/1000 of the error allowed.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from time import perf_counter

import numpy as np
from scipy.stats import beta, norm

from lesion.sequential import Process, Question, Stratified, Uniform, Verdict, decide

LAYERS, RATIOS = 28, 9
CELLS = LAYERS * RATIOS
ACCURACY, SPREAD = 3.6, 2.3  # mean and deviation of the margins: 94 % right
LOST = np.log(1e-3)
SIDES = Verdict.SAFE, Verdict.SENSITIVE
MIXED = "one of these a layer"
WAYS = (
    ("stratified", "set", MIXED),
    ("stratified", "set", "low margins"),
    ("stratified", "set", "high margins"),
    ("stratified", "set", "anywhere"),
    ("uniform", "set", "anywhere"),
    ("uniform", "population", "anywhere"),
)
HEADER = "process", "estimand", "flips", "false claim", "studies", "with any", "share", "95 %"
PEEKS = (
    ("z, 95 % for each cell", 0.05),
    ("z, 95 % for the study (Bonferroni)", 0.05 / CELLS),
)


@dataclass(frozen=True)
class Setting:
    """What all simulated studies share."""

    images: int
    tolerance: float
    alpha: float

    def beyond(self, side: Verdict) -> int:
        """The net number of images lost at which claiming `side` is just false."""
        return int(self.tolerance * self.images + 1e-9) + (side is Verdict.SAFE)


def subject(rng: np.random.Generator, images: int) -> tuple[np.ndarray, np.ndarray]:
    """Base scores and margins in random order."""
    margin = rng.normal(ACCURACY, SPREAD, images)
    return (margin > 0).astype(float), margin


def pick(rng: np.random.Generator, likely: np.ndarray, count: np.ndarray) -> np.ndarray:
    """(cells, N) `count` images of each row, drawn without replacement, in proportion to likely."""
    keys = rng.standard_exponential(likely.shape) / np.maximum(likely, 1e-300)
    first = np.partition(keys, count.max(), axis=1)[:, : count.max() + 1]
    return keys < np.sort(first, axis=1)[np.arange(len(count)), count][:, None]


def plant(
    rng: np.random.Generator, base: np.ndarray, margin: np.ndarray, net: int, where: str
) -> np.ndarray:
    """(cells, N) scores of lesions that lose `net` images, with as many repaired as come."""
    repaired = rng.integers(1, max(2, min(net, int((base == 0).sum())) // 2 + 1), CELLS)
    near = norm.cdf(-np.abs(margin) / 0.7)
    far = np.argsort(np.argsort(margin)) >= len(margin) // 2
    places = np.stack([near, far, np.ones(len(base))])
    kinds = ("low margins", "high margins", "anywhere")
    layers = rng.integers(3, size=LAYERS) if where == MIXED else [kinds.index(where)] * LAYERS
    likely = np.maximum(places, 1e-12)[np.repeat(layers, RATIOS)]
    broken = pick(rng, likely * base, repaired + net)
    back = pick(rng, np.tile(np.maximum(near, 1e-12) * (1 - base), (CELLS, 1)), repaired)
    return base - broken + back


def sampled(rng: np.random.Generator, images: int, drop: float) -> tuple[np.ndarray, np.ndarray]:
    """Base scores, and those of lesions, of independent images whose expected drop is `drop`."""
    right = norm.cdf(ACCURACY / SPREAD)
    base = (rng.random(images) < right).astype(float)
    repaired = rng.uniform(0.1, 1, CELLS)[:, None] * drop / 2
    chance = rng.random((CELLS, images))
    flips = np.where(base > 0, chance < (repaired + drop) / right, chance < repaired / (1 - right))
    return base, np.abs(base - flips)


def study(
    rng: np.random.Generator, setting: Setting, way: tuple[str, str, str], side: Verdict
) -> tuple[Process, np.ndarray]:
    """A process and the scores it will meet."""
    order, estimand, where = way
    net = setting.beyond(side)
    if estimand == "population":
        drop = setting.tolerance + (side is Verdict.SAFE) / setting.images
        base, scores = sampled(rng, setting.images, drop)
        question = Question(setting.tolerance, base, None, estimand)
        return Uniform(question, CELLS, record=False), scores
    base, margin = subject(rng, setting.images)
    scores = plant(rng, base, margin, net, where)
    question = Question(setting.tolerance, base, margin, hits=True)
    if order == "uniform":
        return Uniform(question, CELLS, record=False), scores
    return Stratified(question, rng.integers(2**31, size=CELLS), record=False), scores


def claims(process: Process, scores: np.ndarray, alpha: float, side: Verdict) -> bool:
    """Whether any cell of the study ever claims `side`."""
    cells, column = np.arange(CELLS), SIDES.index(side)
    while len(cells):
        process.follow(cells, scores)
        crossed = process.log_e[cells].max(1) >= -np.log(alpha)
        lost = process.wealth[cells, column] < LOST
        done = process.seen[cells] >= process.question.images
        cells = cells[~(crossed | lost | done)]
    waiting = process.log_e[:, column] >= -np.log(alpha)  # whatever the floor says
    return bool((waiting & ~np.isinf(process.log_e[:, 1 - column])).any())


def peeked(scores: np.ndarray, base: np.ndarray, tolerance: float, alpha: float) -> np.ndarray:
    """For each side whether any cell's z interval, looked at every 50 images, ever excludes."""
    drops = base - scores
    looks = np.arange(100, len(base) + 1, 50)
    total, flips = np.cumsum(drops, 1)[:, looks - 1], np.cumsum(np.abs(drops), 1)[:, looks - 1]
    mean = total / looks
    half = norm.isf(alpha / 2) * np.sqrt((flips / looks - mean**2) / looks)
    return np.array([(mean + half <= tolerance).any(), (mean - half > tolerance).any()])


def share(count: int, studies: int) -> list[str]:
    """The share with its Clopper–Pearson interval."""
    low = beta.ppf(0.025, count, studies - count + 1) if count else 0.0
    high = beta.ppf(0.975, count + 1, studies - count) if count < studies else 1.0
    return [
        str(studies),
        str(count),
        f"{100 * count / studies:.2f} %",
        f"{100 * low:.2f}–{100 * high:.2f} %",
    ]


def wrong(
    setting: Setting, way: tuple[str, str, str], side: Verdict, seed: int, number: int
) -> bool:
    """Whether the study of that number claims what is false."""
    rng = np.random.default_rng([seed, number, WAYS.index(way), SIDES.index(side)])
    process, scores = study(rng, setting, way, side)
    return claims(process, scores, setting.alpha / CELLS, side)


def simulate(
    setting: Setting,
    way: tuple[str, str, str],
    side: Verdict,
    studies: int,
    seed: int,
    workers: int = 1,
) -> list[str]:
    """A row of the table."""
    false, start = 0, perf_counter()
    task = partial(wrong, setting, way, side, seed)
    with Pool(workers) if workers > 1 else nullcontext() as pool:
        claimed = (
            pool.imap_unordered(task, range(studies), 10) if pool else map(task, range(studies))
        )
        for number, each in enumerate(claimed, 1):
            false += each
            if number % 100 == 0:
                print(
                    f"{way} {side.value}: {false} of {number}, {perf_counter() - start:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
    return [*way, side.value.upper(), *share(false, studies)]


def ordinary(setting: Setting, side: Verdict, studies: int, seed: int) -> Iterator[list[str]]:
    """Rows for intervals that are meant to be looked at once, on the same kind of studies."""
    false = np.zeros((len(PEEKS), 2), int)
    for number in range(studies):
        rng = np.random.default_rng([seed, number, len(WAYS), SIDES.index(side)])
        base, margin = subject(rng, setting.images)
        scores = plant(rng, base, margin, setting.beyond(side), "anywhere")
        for row, (_, alpha) in enumerate(PEEKS):
            false[row] += peeked(scores, base, setting.tolerance, alpha)
    for (name, _), counts in zip(PEEKS, false, strict=True):
        number = int(counts[SIDES.index(side)])
        yield [name, "set", "anywhere", side.value.upper(), *share(number, studies)]


def curves(rng: np.random.Generator, images: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Base scores, margins and (cells, N) scores of layers whose drops rise with the ratio.

    The logit difference moves by noise that grows with the ratio, faster in some layers.
    """
    base, margin = subject(rng, images)
    ratios = np.arange(1, RATIOS + 1) / 10
    scores = np.empty((CELLS, images))
    for layer in range(LAYERS):
        strength = np.exp(rng.normal(0.2, 1.0)) * ratios ** rng.uniform(1, 3)
        noise = rng.normal(size=images)
        for place, power in enumerate(strength):
            mixed = 0.9 * noise + np.sqrt(1 - 0.81) * rng.normal(size=images)
            scores[layer * RATIOS + place] = margin - 0.1 * power + power * mixed > 0
    return base, margin, scores


def allocation(setting: Setting, seed: int) -> list[list[str]]:
    """Images that find every layer's largest safe ratio, by two ways to share alpha."""
    base, margin, scores = curves(np.random.default_rng(seed), setting.images)
    question = Question(setting.tolerance, base, margin, hits=True)
    safe = ((base - scores).sum(1) <= question.limit).reshape(LAYERS, RATIOS)
    edge = np.where(safe.all(1), RATIOS, safe.argmin(1))  # ratios in the safe chain
    ratio = np.arange(RATIOS)
    chain = ratio <= edge[:, None]
    ends = (ratio == edge[:, None]) | (ratio == edge[:, None] - 1)
    rows = []
    for name, parts, used in (
        ("any order, both sides of the boundary", CELLS, ends),
        ("increasing certified chain", LAYERS, chain),
    ):
        process = Stratified(question, np.zeros(CELLS, int), record=False)
        decide(process, scores, setting.alpha / parts)
        seen = process.seen.reshape(LAYERS, RATIOS)
        rows.append(
            [
                name,
                f"alpha / {parts}",
                f"{used.sum()}",
                f"{(seen * used).sum()}",
                f"{(seen * used).sum() / used.sum():.0f}",
            ]
        )
    return rows


def table(header: tuple[str, ...], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [list(header), ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def main() -> int:
    """Read the command line, simulate, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--studies", type=int, default=10_000)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--tolerance", type=float, default=0.01)
    parser.add_argument("--alpha", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--side", choices=[side.value for side in SIDES], default="safe")
    parser.add_argument("--ways", type=int, nargs="+", default=list(range(len(WAYS))))
    parser.add_argument("--allocation", action="store_true", help="compare shares of alpha instead")
    parser.add_argument("-o", "--out", type=Path, help="a Markdown file to add the table to")
    asked = parser.parse_args()
    setting, side = Setting(asked.images, asked.tolerance, asked.alpha), Verdict(asked.side)
    if asked.allocation:
        header = "claimed", "each cell at", "cells run", "images × lesions", "images a cell"
        text = table(header, allocation(setting, asked.seed))
    else:
        rows = [
            simulate(setting, WAYS[way], side, asked.studies, asked.seed, asked.workers)
            for way in asked.ways
        ]
        rows += ordinary(setting, side, min(asked.studies, 500), asked.seed)
        text = table(HEADER, rows)
    print(text)
    if asked.out:
        with asked.out.open("a") as out:
            out.write(f"\n{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
