"""Verdicts as far as scores go: cells that look at images until they are decided."""

from collections.abc import Sequence

import numpy as np

from lesion.errors import LesionError
from lesion.sequential.process import Process
from lesion.sequential.question import Array, Question, Verdict
from lesion.sequential.stratified import Stratified
from lesion.sequential.uniform import Uniform


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
    cells = cells[~np.isnan(scores[cells]).all(1)]
    while len(cells):
        cells = cells[process.follow(cells, scores)]
        still = set(open_cells(process, alpha))
        cells = np.array([cell for cell in cells if cell in still], int)
    return process.verdicts(alpha)
