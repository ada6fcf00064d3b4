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

from lesion.sequential.confidence import intervals
from lesion.sequential.process import Process
from lesion.sequential.question import Forecast, Intervals, Question, Verdict
from lesion.sequential.stratified import Stratified
from lesion.sequential.uniform import Uniform, fewest
from lesion.sequential.verdicts import decide, floor, open_cells, stratified, uniform

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
