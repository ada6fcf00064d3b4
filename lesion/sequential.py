"""Verdicts from few images that survive looking early: SAFE, SENSITIVE or UNDECIDED.

A process looks at the images of an evaluation set step by step, each lesion (cell) on its own, and
may be asked for verdicts at any time.  With `cells` claims in a study, ask each at
alpha = (1 − confidence) / cells, or at shares of its own that sum to 1 − confidence: then with that
confidence no verdict of the study is wrong, whichever cells were looked at, in whatever order, and
however long.  The shares have to be fixed before the first outcome, for all cells that will ever be
asked.  One alpha serves both sides, since one of "SAFE" and "SENSITIVE" is true of a cell.

`uniform` looks at images in the study's order; `stratified` looks where the intact network
hesitates, and is as valid where margins mislead.

>>> import numpy as np
>>> rng = np.random.default_rng(0)
>>> margin = rng.normal(3, 2, 10_000)
>>> base = (margin > 0).astype(float)
>>> after = margin + np.outer([0.05, 2.0], rng.normal(size=10_000))  # two lesions
>>> scores = (after > 0).astype(float)
>>> (100 * (base - scores).mean(1)).round(2).tolist()
[0.01, 7.6]
>>> process = stratified(Question(0.01, base, margin, hits=True), seeds=[0, 0])
>>> alpha = 0.05 / 2
>>> while undecided := open_cells(process, alpha):
...     places = process.choose(undecided)
...     process.update(undecided, [scores[c, p] for c, p in zip(undecided, places)])
>>> [verdict.value for verdict in process.verdicts(alpha)]
['safe', 'sensitive']
>>> process.seen.tolist(), process.floor(alpha)
([450, 100], 334)
"""

from collections.abc import Sequence

import numpy as np

from lesion.adaptive import Stratified
from lesion.betting import Uniform, fewest
from lesion.errors import LesionError
from lesion.inversion import intervals
from lesion.process import Process
from lesion.question import Array, Forecast, Intervals, Question, Verdict

__all__ = [
    "Forecast",
    "Intervals",
    "Process",
    "Question",
    "Stratified",
    "Uniform",
    "Verdict",
    "decide",
    "fewest",
    "floor",
    "intervals",
    "open_cells",
    "stratified",
    "uniform",
]


def uniform(question: Question, cells: int) -> Uniform:
    """Cells that look at images in the study's order."""
    return Uniform(question, cells)


def stratified(
    question: Question, seeds: Sequence[int] | Array, two_sided: bool = False
) -> Stratified:
    """A cell for each seed, looking where the intact network hesitates; seeds may be equal."""
    return Stratified(question, seeds, two_sided)


def floor(question: Question, alpha: float, order: str = "margin") -> int | None:
    """No SAFE comes from fewer images than this, whatever the outcomes; None if never.

    order: "margin" for the stratified process, "uniform" for the other.  Before the intact network
    has run, base scores of 1 everywhere give nearly the same.

    >>> question = Question(0.01, np.ones(10_000))
    >>> [floor(question, alpha, "uniform") for alpha in (0.05, 0.05 / 28, 0.05 / 252)]
    [427, 765, 973]
    """
    if order not in ("margin", "uniform"):
        raise LesionError(f'Expected the order "margin" or "uniform", got {order!r}.')
    if order == "uniform":
        return Uniform(question, 1).floor(alpha)
    return Stratified(question, [0]).floor(alpha)


def open_cells(process: Process, alpha: float | Array) -> list[int]:
    """The cells that are undecided and have images left."""
    return [
        cell
        for cell, verdict in enumerate(process.verdicts(alpha))
        if verdict is Verdict.UNDECIDED and process.seen[cell] < process.question.images
    ]


def decide(process: Process, scores: Array, alpha: float | Array) -> list[Verdict]:
    """Verdicts as far as stored scores go: every undecided cell looks until it misses one.

    scores: (cells, N) lesioned scores, NaN where an image was not measured.  Goes on from where the
    process stands; `process.choose` then names what to measure next.
    """
    cells = np.array(open_cells(process, alpha), int)
    while len(cells):
        cells = cells[process.follow(cells, scores)]
        still = set(open_cells(process, alpha))
        cells = np.array([cell for cell in cells if cell in still], int)
    return process.verdicts(alpha)
