"""Stratified betting: fair by enumeration, valid and never slow where margins mislead."""

from copy import deepcopy
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from lesion.sequential import Uniform, decide
from lesion.sequential.bets import kelly
from lesion.sequential.question import Question, Verdict
from lesion.sequential.stratified import Stratified

ZERO = np.zeros(1, int)


def outcomes(step, drops_left, row_weight, left):
    """Every (groups, drops, chance) of the draws of a step, one after the other."""
    if not row_weight:
        yield (), (), 1.0
        return
    total = sum(step.weight[0, h] * n for h, n in enumerate(left))
    for h, n in enumerate(left):
        for drop in sorted(set(drops_left[h])):  # the next image of the group is any of the left
            chance = step.weight[0, h] * n / total * drops_left[h].count(drop) / n
            rest = [list(group) for group in drops_left]
            rest[h].remove(drop)
            fewer = [m - (g == h) for g, m in enumerate(left)]
            for groups, drops, more in outcomes(step, rest, row_weight - 1, fewer):
                yield (h, *groups), (drop, *drops), chance * more


def expected_wealth(process, drops_left, steps):
    """The mean of the two wealths over all draws and orders, by enumeration."""
    if not steps or not sum(map(len, drops_left)):
        return np.exp(process.wealth[0])
    step, total = process._next(ZERO), np.zeros(2)
    left = [len(group) for group in drops_left]
    for groups, drops, chance in outcomes(step, drops_left, int(step.count[0]), left):
        branch = deepcopy(process)
        positions = process.strata.layout[process.strata.start[list(groups)]][None]
        branch._step = replace(step, group=np.array([groups]), positions=positions)
        branch.take(ZERO, branch.question.base[positions] - np.array([drops]))
        rest = [list(group) for group in drops_left]
        for h, drop in zip(groups, drops, strict=True):
            rest[h].remove(drop)
        total += chance * expected_wealth(branch, rest, steps - 1)
    return total


def tiny(drops, tolerance, hits=True):
    """A process on seven images in groups, and the drops of each group."""
    base = np.array([1, 1, 1, 1, 1, 0, 0.0])
    margin = np.array([0.05, 0.05, 9, 9, 9, 0.05, 0.05])
    process = Stratified(Question(tolerance, base, margin, hits=hits), [0], least=2)
    start, layout = process.strata.start, process.strata.layout
    drops = np.array(drops)
    return process, [list(drops[layout[i:j]]) for i, j in pairwise(start)]


@pytest.mark.parametrize(
    "drops", [[1, 1, 1, 0, 0, -1, 0], [0, 0, 1, 1, 0, 0, 0], [1, 0, 1, 1, 0, -1, 0]]
)
def test_the_mean_wealth_is_one_where_the_claim_is_just_false(drops):
    total = sum(drops)
    process, groups = tiny(drops, (total - 1) / 7)
    assert len(groups) == 3
    assert expected_wealth(process, groups, 2)[0] == pytest.approx(1, abs=1e-9)
    process, groups = tiny(drops, total / 7)
    assert expected_wealth(process, groups, 2)[1] == pytest.approx(1, abs=1e-9)


def test_the_mean_wealth_is_one_for_fractional_scores_too():
    drops = [0.5, 0.25, 0, 1, 0.25, -0.5, 0]
    process, groups = tiny(drops, sum(drops) / 7, hits=False)
    assert expected_wealth(process, groups, 2) == pytest.approx([1, 1], abs=1e-9)


def test_beyond_the_boundary_the_mean_wealth_is_below_one():
    process, groups = tiny([1, 1, 1, 0, 0, 0, 0], 1 / 7)
    safe, sensitive = expected_wealth(process, groups, 2)
    assert safe < 1 < sensitive


def subject(rng, images=3000, spread=2.3):
    margin = rng.normal(3.6, spread, images)
    return (margin > 0).astype(float), margin


def test_images_are_drawn_in_proportion_to_the_weights():
    base, margin = subject(np.random.default_rng(0), 60)
    process = Stratified(Question(0.05, base, margin), np.arange(4000), least=5)
    step = process._next(np.arange(4000))
    weight, left = step.weight[0], step.left[0].astype(float)
    chance = weight * left / (weight * left).sum()
    first = np.bincount(step.group[:, 0], minlength=len(left))
    assert ((first - 4000 * chance) ** 2 / (4000 * chance)).sum() < 3 * len(left) + 10
    second = np.zeros(len(left))
    for h in range(len(left)):
        after = weight * (left - (np.arange(len(left)) == h))
        second += chance[h] * after / after.sum()
    drawn = np.bincount(step.group[:, 1], minlength=len(left))
    assert ((drawn - 4000 * second) ** 2 / (4000 * second)).sum() < 3 * len(left) + 10


def test_a_group_is_looked_at_in_the_studys_order():
    base, margin = subject(np.random.default_rng(1), 500)
    process = Stratified(Question(0.05, base, margin), [7])
    scores = base[None] * (np.random.default_rng(2).random(500) > 0.05)
    seen = []
    while process.seen[0] < 500:
        (positions,) = process.choose([0])
        seen += positions.tolist()
        process.update([0], [scores[0, positions]])
    assert sorted(seen) == list(range(500))
    group = np.empty(500, int)
    for h, (start, end) in enumerate(pairwise(process.strata.start)):
        group[process.strata.layout[start:end]] = h
    for h in range(process.strata.groups):
        places = [position for position in seen if group[position] == h]
        assert places == sorted(places)
    assert process.choose([0])[0].size == 0


def lesions(rng, base, margin, cells, broken, repaired):
    """Scores whose flips lie among low margins."""
    scores = np.tile(base, (cells, 1))
    for row in scores:
        for value, count in ((1, broken), (0, repaired)):
            images = np.flatnonzero(base == value)
            near = np.exp(-np.abs(margin[images]))
            row[rng.choice(images, count, replace=False, p=near / near.sum())] = 1 - value
    return scores


@pytest.mark.parametrize("net", [-15, 12, 130])
def test_margins_that_say_nothing_or_lie_cost_little(net):
    rng = np.random.default_rng(net + 99)
    base, margin = subject(rng, 5000)
    scores = lesions(rng, base, margin, 25, 30 + net, 30)
    right = rng.permutation(np.where(base > 0)[0])
    shuffled = margin.copy()
    for side in (right, np.flatnonzero(base == 0)):
        shuffled[np.sort(side)] = margin[rng.permutation(side)]
    turned = margin.max() - np.abs(margin) + 0.01
    images = {}
    for name, used in (("told", margin), ("shuffled", shuffled), ("turned", turned)):
        process = Stratified(Question(0.01, base, used, hits=True), np.arange(25))
        decide(process, scores, 0.05 / 252)
        images[name] = process.seen.mean()
    plain = Uniform(Question(0.01, base, hits=True), 25)
    decide(plain, scores, 0.05 / 252)
    uniform = plain.seen.mean()
    assert images["told"] < uniform
    assert max(images["shuffled"], images["turned"]) < 1.46 * uniform + 50


def test_without_margins_there_are_two_groups():
    base, _ = subject(np.random.default_rng(5), 2000)
    for margin in (None, np.zeros(2000)):
        process = Stratified(Question(0.02, base, margin, hits=True), [0])
        assert process.strata.groups == 2
        assert decide(process, base[None], 0.01) == [Verdict.SAFE]


def test_no_safe_comes_before_the_floor_even_with_luck():
    base, margin = subject(np.random.default_rng(6), 4000)
    question = Question(0.01, base, margin, hits=True)
    for scores in (base, np.ones(4000)):  # nothing broken; and everything repaired
        process = Stratified(question, np.arange(40), least=10)
        assert set(decide(process, np.tile(scores, (40, 1)), 1e-3)) == {Verdict.SAFE}
        floor = process.floor(1e-3)
        assert floor <= process.seen.min()
        assert process.seen.max() < 1.35 * floor


def test_the_floor_is_what_hides_every_broken_image_with_probability_alpha():
    base = np.repeat([1.0, 0.0], [900, 100])
    n = Stratified(Question(0.01, base, hits=True), [0]).floor(0.01)
    hidden = [np.prod([(900 - i - 11) / (900 - i) for i in range(m)]) for m in (n - 1, n)]
    assert hidden[1] <= 0.01 < hidden[0]


def test_the_bet_is_the_best_of_its_form():
    p = np.array([0.2, 0.01, 0.001, 0.3])
    share, weight = np.array([0.1, 0.2, 0.6, 0.1]), np.array([2.5, 1.2, 0.75, 0.6])
    weight /= share @ weight
    sign = np.array([1.0, 1, 1, -1])
    need = (share * sign * p).sum() + 0.01
    bet, guess = kelly(p[None, None], share[None], weight[None], np.array([[need]]), sign[None])

    def growth(bet, guess):
        calm = 1 + bet * (need - share @ guess + guess / weight)
        flip = calm - bet * sign / weight
        if min(calm.min(), flip.min()) <= 0:
            return -np.inf
        return share * weight @ ((1 - p) * np.log(calm) + p * np.log(flip))

    best = growth(bet[0, 0], guess[0, 0])
    assert best > growth(bet[0, 0], sign * p)  # what is expected, as the guess
    for scale in (0.9, 1.1):
        assert growth(scale * bet[0, 0], guess[0, 0]) < best + 1e-6
    for h in range(4):
        for shift in (-0.002, 0.002):
            assert growth(bet[0, 0], guess[0, 0] + shift * np.eye(4)[h]) < best + 1e-6


def test_a_cell_does_not_bet_against_what_it_expects():
    p = np.full((1, 1, 1), 0.3)
    bet, _ = kelly(p, np.ones((1, 1)), np.ones((1, 1)), np.array([[0.2]]), np.ones((1, 1)))
    assert bet[0, 0] == 0


def test_a_step_forecasts_the_end():
    rng = np.random.default_rng(8)
    base, margin = subject(rng, 4000)
    scores = np.concatenate([lesions(rng, base, margin, 3, n, 20) for n in (4, 600)])
    process = Stratified(Question(0.01, base, margin, hits=True), np.zeros(6, int))
    for _ in range(3):
        process.follow(np.arange(6), scores)
    forecast = process.forecast(np.arange(6), 0.01)
    assert (forecast.safe[:3] > 0.5).all()
    assert (forecast.safe[3:] < 0.01).all()
    assert forecast.drop[3:] == pytest.approx(0.15, abs=0.1)
    left = forecast.images[:3]
    decide(process, scores, 0.01)
    assert 0.4 < left.mean() / (process.seen[:3].mean() - 150) < 2.5
    assert (process.forecast(np.arange(6), 0.01).images == 0).all()
