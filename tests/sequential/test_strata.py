"""Groups by margin: made from the question alone, with models whose drops are as asked."""

from itertools import pairwise

import numpy as np
import pytest

from lesion.sequential.question import Question
from lesion.sequential.strata import BLIND, DROPS, STRAY, Strata


def question(images=4000, tolerance=0.01, seed=0):
    margin = np.random.default_rng(seed).normal(3.6, 2.3, images)
    return Question(tolerance, (margin > 0).astype(float), margin)


def test_groups_hold_images_of_like_margin_in_the_studys_order():
    asked = question()
    strata = Strata(asked)
    assert sorted(strata.layout) == list(range(4000))
    parts = [strata.layout[start:end] for start, end in pairwise(strata.start)]
    assert [len(part) for part in parts] == strata.size.tolist()
    assert 10 < strata.groups <= 24
    for part, right in zip(parts, strata.right, strict=True):
        assert (np.diff(part) > 0).all()
        assert (asked.base[part] == right).all()
    ends = [(np.abs(asked.margin[p]).min(), np.abs(asked.margin[p]).max()) for p in parts]
    for side in (True, False):
        of_side = [end for end, right in zip(ends, strata.right, strict=True) if right == side]
        assert all(last[1] < first[0] for last, first in pairwise(of_side))


def test_each_model_makes_the_drop_it_stands_for():
    strata = Strata(question())
    sign = np.where(strata.right, 1, -1)
    drops = (strata.model * sign * strata.size).sum(1) / 4000
    stray = STRAY * 0.01 * strata.size[strata.right].sum() / 4000
    expected = np.tile(DROPS * 0.01, len(BLIND)) + stray
    assert drops == pytest.approx(expected, rel=0.05, abs=1e-4)


def test_margin_scale_and_sign_change_nothing():
    asked = question()
    scaled = Question(0.01, asked.base, -7 * asked.margin)
    plain, rescaled = Strata(asked), Strata(scaled)
    assert plain.layout.tolist() == rescaled.layout.tolist()
    assert plain.model == pytest.approx(rescaled.model, rel=1e-6)


def test_without_margins_the_models_still_make_their_drops():
    strata = Strata(Question(0.01, question().base))
    sign = np.where(strata.right, 1, -1)
    drops = (strata.model * sign * strata.size).sum(1) / 4000
    assert drops[: len(DROPS)] == pytest.approx(DROPS * 0.01, rel=0.1, abs=2.1e-4)


def test_clocks_are_sorted_exponentials_in_every_group():
    strata = Strata(question(images=6000))
    clocks = np.array([strata.clocks(seed) for seed in range(40)])
    for start, end in pairwise(strata.start):
        times = clocks[:, start:end]
        assert (np.diff(times, axis=1) > 0).all()
        size = end - start
        first, total = times[:, 0] * size, times.mean(1)
        assert first.mean() == pytest.approx(1, abs=4 / np.sqrt(40))
        assert total.mean() == pytest.approx(1, abs=4 / np.sqrt(40 * size))
    assert strata.clocks(3).tolist() == clocks[3].tolist() != clocks[4].tolist()
