"""How often bootstrap intervals of scores of sets hold the truth: 2000 studies, a known population.

    python benchmarks/set_intervals.py -o benchmarks/set_intervals.md

A population of images, each with the detections (the confusion matrix) of an intact and of a
lesioned network; the truth is the drop on all of it.  Every study draws some images and puts the
interval of `lesion.SetScore` behind its drop.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.stats import binomtest
from subjects import table

from lesion import SetScore

PER_IMAGE, CLASSES = 8, 4  # boxes that are detected; classes of pixels


def detections(images: int, rng: np.random.Generator) -> list[np.ndarray]:
    """By network (images, boxes, 3): score, hit, true boxes of the image; images differ in
    difficulty, and the lesioned network finds most of what the intact one finds."""
    true = rng.integers(1, 6, images)
    difficulty, base = rng.normal(0, 0.7, images), rng.normal(0, 0.6, (images, PER_IMAGE))
    networks = []
    for shift, noise in ((0.0, 0.5), (0.35, 0.6)):
        sure = base - difficulty[:, None] - shift + rng.normal(0, noise, base.shape)
        right = np.arange(PER_IMAGE) < true[:, None]
        scores = np.where(right, sure, rng.normal(-1.2, 0.8, base.shape))
        counts = np.broadcast_to(true[:, None], base.shape)
        networks.append(np.stack([scores, right & (sure > -0.8), counts], axis=2))
    return networks


def average_precision(parts: np.ndarray) -> float:
    """The area under precision and recall, in per cent."""
    boxes = parts.reshape(-1, 3)
    hits = boxes[np.argsort(-boxes[:, 0]), 1]
    ranks = np.flatnonzero(hits)
    precision = np.arange(1, len(ranks) + 1) / (ranks + 1)
    best = np.maximum.accumulate(precision[::-1])
    return 100 * best.sum() / parts[:, 0, 2].sum()


def confusions(images: int, rng: np.random.Generator) -> list[np.ndarray]:
    """By network (images, classes, classes): pixels by true and predicted class; few images have
    the rare classes."""
    shares = rng.dirichlet([2.0, 1.0, 0.3, 0.1], images)
    pixels = rng.multinomial(200, shares)
    difficulty = rng.beta(2, 8, images)
    networks = []
    for factor in (1.0, 1.5):
        wrong = np.clip(factor * difficulty, 0, 1)[:, None]
        missed = rng.binomial(pixels, wrong)
        spread = np.stack(
            [rng.multinomial(missed[:, c], np.full(CLASSES, 1 / CLASSES)) for c in range(CLASSES)],
            axis=1,
        )
        networks.append(
            spread + np.einsum("nc,cd->ncd", pixels - missed, np.eye(CLASSES, dtype=int))
        )
    return networks


def mean_iou(parts: np.ndarray) -> float:
    """Intersection over union of all images together, mean over the classes, in per cent."""
    matrix = parts.sum(0)
    right = np.diag(matrix)
    return 100 * float((right / (matrix.sum(0) + matrix.sum(1) - right)).mean())


SCORES: dict[str, tuple[Callable[..., list[np.ndarray]], Callable[[np.ndarray], float]]] = {
    "mAP": (detections, average_precision),
    "mIoU": (confusions, mean_iou),
}


def covered(
    score: str, images: int, asked: argparse.Namespace, population: list[np.ndarray], truth: float
) -> tuple[int, float]:
    """In how many studies the truth is in the interval, and its mean width."""
    rng = np.random.default_rng([asked.seed, images])
    inside, widths = 0, 0.0
    for _ in range(asked.studies):
        rows = rng.integers(len(population[0]), size=images)
        before, after = (SetScore(network[rows], SCORES[score][1]) for network in population)
        half = after.resampled().half_width(before.resampled(), asked.level)
        inside += abs(before.value - after.value - truth) <= half
        widths += 2 * half
    return inside, widths / asked.studies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--images", type=int, nargs="+", default=[50, 100, 300])
    parser.add_argument("--population", type=int, default=200_000)
    parser.add_argument("--level", type=float, default=0.95)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path)
    asked = parser.parse_args()
    rows = []
    for score, (make, combine) in SCORES.items():
        population = make(asked.population, np.random.default_rng(asked.seed))
        before, after = (combine(network) for network in population)
        for images in asked.images:
            inside, width = covered(score, images, asked, population, before - after)
            low, high = binomtest(inside, asked.studies).proportion_ci()
            rows.append((
                score, f"{images}", f"{before:.1f}", f"{before - after:.2f}", f"{width:.2f}",
                f"{inside / asked.studies:.1%}", f"{low:.1%} … {high:.1%}",
            ))  # fmt: skip
            print(*rows[-1], flush=True)
    header = (
        "score",
        "images",
        "baseline",
        "drop",
        "mean width",
        "holds the truth",
        "95 % of that",
    )
    table(header, rows, asked.out)


if __name__ == "__main__":
    main()
