"""Intervals that hold at every look: the drops that betting against them does not refute.

A process can say what its wealth against "drop ≥ θ" would have been for any θ; as it rises with θ,
the least θ at which it reached 2 / α is found by bisection, and the other end likewise.

Source: Waudby-Smith and Ramdas 2024 (see `uniform`), section 4.
"""

from math import log
from typing import NamedTuple

import numpy as np

from lesion.sequential.process import Process
from lesion.sequential.question import Array, Intervals

BLOCK = 128  # images multiplied at a time
TOGETHER = 16, 128  # cells at a time, the fewer the more images they have seen
MOST = 1 << 16  # images of theirs
HALVINGS = 18


class Record(NamedTuple):
    """The trails of cells, padded to whole blocks.

    tables: (tables, cells, images); real: (cells, images) what is no padding
    """

    tables: Array
    real: Array


def intervals(process: Process, cells: Array, alpha: float) -> Intervals:
    """The drops, as proportions, that are not refuted at level alpha, right at all looks together.

    Both ends miss with probability alpha at most.  Exact where all images are seen and the estimand
    is this set.  Never at odds with verdicts asked at 0.45 alpha or less: the interval of a SAFE
    cell then ends at the tolerance at most, that of a SENSITIVE one begins above it.  Raises
    LesionError where the process keeps no record.
    """
    cells = np.asarray(cells, int)
    estimates = np.zeros((3, len(cells)))
    alike = np.argsort(-process.seen[cells], kind="stable")  # padded to little more than they are
    while len(alike):
        most = int(np.clip(MOST // max(process.seen[cells[alike[0]]], 1), *TOGETHER))
        rows, alike = alike[:most], alike[most:]
        estimates[:, rows] = _estimates(process, cells[rows], alpha)
    return Intervals(*estimates)


def _estimates(process: Process, cells: Array, alpha: float) -> Array:
    """(3, cells) the drops, and the two ends of their intervals."""
    possible, record = _certain(process, cells), _record(process, cells)
    ends = [_end(process, record, possible, side, alpha) for side in (0, 1)]
    lower, upper = np.minimum(ends[1], ends[0]), np.maximum(ends[0], ends[1])
    drop = process.forecast(cells, 0.5).drop
    return np.stack([np.clip(drop, lower, upper), lower, upper])


def _certain(process: Process, cells: Array) -> tuple[Array, Array]:
    """What the drop can be at all."""
    if process.question.estimand == "population":
        return np.full(len(cells), -1.0), np.ones(len(cells))
    up, down = process.rest(cells)
    total, images = process.total[cells], process.question.images
    return (total - down) / images, (total + up) / images


def _record(process: Process, cells: Array) -> Record:
    trails = process.trails(cells)
    longest = max(trail.shape[1] for trail in trails)
    width = max(-(-longest // BLOCK), 1) * BLOCK
    tables = np.ones((len(trails[0]), len(cells), width))
    real = np.zeros((len(cells), width), bool)
    for row, trail in enumerate(trails):
        tables[:, row, : trail.shape[1]] = trail
        real[row, : trail.shape[1]] = True
    return Record(tables, real)


def _end(
    process: Process, record: Record, possible: tuple[Array, Array], side: int, alpha: float
) -> Array:
    """The nearest drop that is refuted; where drops are counts, the last one that is not.

    The first drop tried is the one that the verdict is about.
    """
    images = process.question.images
    whole = process.question.hits and process.question.estimand == "set"
    spacing = 1 / images if whole else 0.0
    sign = 1 if side == 0 else -1
    inside, outside = possible if side == 0 else possible[::-1]
    inside, outside = inside - sign * spacing, outside + sign * spacing
    theta = np.full(len(inside), process.question.bars[side] / images)
    for _ in range(HALVINGS):
        within = (sign * theta > sign * inside) & (sign * theta < sign * outside)
        refuted = np.zeros(len(theta), bool)
        refuted[within] = _refuted(process, record, np.flatnonzero(within), theta, side, alpha)
        outside = np.where(within & refuted, theta, outside)
        inside = np.where(within & ~refuted, theta, inside)
        theta = (inside + outside) / 2
        if whole:
            theta = np.round(theta * images) / images
            if (np.abs(outside - inside) < 1.5 * spacing).all():
                break
    return np.asarray(outside - sign * spacing)


def _refuted(
    process: Process, record: Record, rows: Array, theta: Array, side: int, alpha: float
) -> Array:
    """Of some cells, whether the wealth that bets against θ makes ever reached 2 / α.

    A cell is followed no further than to where it did.
    """
    tables, real = record
    reached, left = np.zeros(len(theta), bool), rows
    wealth = np.tile(np.log(process.shares), (len(rows), 1))
    for start in range(0, real.shape[1], BLOCK):
        if not len(left):
            break
        block = slice(start, start + BLOCK)
        paths = process.against(tables[:, left, block], theta[left], side)
        padding = ~real[left, block]
        if padding.any():
            paths = np.where(padding[:, None], 1.0, paths)
        np.cumprod(paths, axis=2, out=paths)
        gained, top = paths[:, :, -1].copy(), wealth.max(1)
        paths *= np.exp(wealth - top[:, None])[:, :, None]
        with np.errstate(divide="ignore"):
            peak = np.log(paths.sum(1).max(1)) + top
            wealth += np.log(gained)
        crossed = peak >= log(2 / alpha)
        reached[left[crossed]] = True
        left, wealth = left[~crossed], wealth[~crossed]
    return np.asarray(reached[rows])
