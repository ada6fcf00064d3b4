"""Anytime intervals: they hold the drop at all looks together, and end in it."""

import numpy as np
import pytest

from lesion.errors import LesionError
from lesion.sequential import Stratified, Uniform, decide
from lesion.sequential.confidence import intervals
from lesion.sequential.question import Question, Verdict

CELLS = np.arange(100)


def subject(rng, images):
    margin = rng.normal(3, 2, images)
    return (margin > 0).astype(float), margin


def scores_of(rng, base, margin, severity):
    after = margin + severity * rng.normal(size=(len(CELLS), len(base)))
    return (after > 0).astype(float)


def missed(process, scores, alpha, truth):
    """The share of cells whose interval ever misses the drop on one side, and on the other."""
    low, high = np.zeros((2, len(CELLS)), bool)
    for _ in range(5):
        process.follow(CELLS, scores)
        ends = intervals(process, CELLS, alpha)
        assert (ends.low <= ends.drop).all()
        assert (ends.drop <= ends.high).all()
        low |= ends.low > truth
        high |= ends.high < truth
    return low.mean(), high.mean(), (ends.high - ends.low).mean()


@pytest.mark.parametrize("order", ["margin", "both", "uniform"])
@pytest.mark.parametrize("severity", [0.3, 2.0])
def test_intervals_hold_the_drop_at_every_look(order, severity):
    rng = np.random.default_rng(5)
    base, margin = subject(rng, 700)
    scores = scores_of(rng, base, margin, severity)
    question = Question(0.05, base, margin)
    if order == "uniform":
        process = Uniform(question, len(CELLS), least=60)
    else:
        process = Stratified(question, CELLS, two_sided=order == "both", least=60)
    low, high, width = missed(process, scores, 0.2, (base - scores).mean(1))
    assert max(low, high) <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / len(CELLS))
    assert width < 0.45


def test_intervals_hold_the_drop_of_the_population():
    rng = np.random.default_rng(6)
    base = np.full(600, 0.5)
    scores = 0.5 - rng.choice([0.5, 0, -0.5], (len(CELLS), 600), p=[0.2, 0.75, 0.05])
    process = Uniform(Question(0.05, base, estimand="population"), len(CELLS), least=60)
    low, high, _ = missed(process, scores, 0.2, 0.075)
    assert max(low, high) <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / len(CELLS))


@pytest.mark.parametrize("kind", [Stratified, Uniform])
def test_intervals_end_in_the_drop_when_all_images_are_seen(kind):
    rng = np.random.default_rng(7)
    base, margin = subject(rng, 300)
    scores = scores_of(rng, base, margin, 1.0)
    question = Question(0.05, base, margin)
    process = kind(question, len(CELLS) if kind is Uniform else CELLS)
    while (process.seen < 300).any():
        process.follow(np.flatnonzero(process.seen < 300), scores)
    ends = intervals(process, CELLS[:20], 0.05)
    for value in ends:
        assert value == pytest.approx((base - scores).mean(1)[:20], abs=1e-9)


def test_two_sided_weights_narrow_the_interval():
    rng = np.random.default_rng(8)
    base, margin = subject(rng, 5000)
    scores = scores_of(rng, base, margin, 0.5)
    widths = {}
    for two_sided in (False, True):
        process = Stratified(Question(0.01, base, margin), CELLS[:10], two_sided)
        while process.seen.max() < 1500:
            process.follow(CELLS[:10], scores)
        ends = intervals(process, CELLS[:10], 0.05)
        widths[two_sided] = (ends.high - ends.low).mean()
    uniform = Uniform(Question(0.01, base, margin), 10)
    while uniform.seen.max() < 1500:
        uniform.follow(CELLS[:10], scores)
    plain = intervals(uniform, CELLS[:10], 0.05)
    assert widths[True] < widths[False]
    assert widths[True] < (plain.high - plain.low).mean()


def test_before_the_first_image_everything_is_possible():
    base = np.repeat([0.0, 1.0], [10, 90])
    ends = intervals(Uniform(Question(0.1, base), 2), np.arange(2), 0.05)
    assert ends.low == pytest.approx(-0.1)
    assert ends.high == pytest.approx(0.9)
    assert intervals(Uniform(Question(0.1, base), 2), CELLS[:0], 0.05).low.size == 0


def test_without_a_record_there_is_no_interval():
    process = Uniform(Question(0.1, np.ones(100)), 1, record=False)
    process.follow(np.zeros(1, int), np.ones((1, 100)))
    with pytest.raises(LesionError, match="Expected a process with record=True to give intervals"):
        intervals(process, np.zeros(1, int), 0.05)


@pytest.mark.parametrize("kind", [Stratified, Uniform])
@pytest.mark.parametrize("hits", [True, False])
def test_intervals_agree_with_verdicts(kind, hits):
    rng = np.random.default_rng(9)
    base, margin = subject(rng, 2000)
    scores = (margin + 1.2 * rng.random((40, 1)) * rng.normal(size=(40, 2000)) > 0).astype(float)
    process = kind(Question(0.013, base, margin, hits=hits), 40 if kind is Uniform else CELLS[:40])
    verdicts = decide(process, scores, 0.01)
    ends = intervals(process, CELLS[:40], 0.01 / 0.45)
    safe = np.array([verdict is Verdict.SAFE for verdict in verdicts])
    assert 5 < safe.sum() < 35
    assert (ends.high[safe] <= 0.013).all()
    assert (ends.low[~safe] >= 0.013).all()
    drops = (base - scores).mean(1)
    assert ((ends.low <= drops + 1e-9) & (drops - 1e-9 <= ends.high)).all()
