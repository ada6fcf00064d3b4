"""Mixture betting: fair by enumeration, equal to its closed forms, and as fast as published."""

from itertools import permutations, product
from math import ceil, log, prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesion.errors import LesionError
from lesion.sequential import decide, floor
from lesion.sequential.question import Question, Verdict
from lesion.sequential.uniform import LARGEST, SHARES, Uniform, fewest


def wealth(question, drops, images):
    """(cells, 2) wealth of each row of drops after some images."""
    process = Uniform(question, len(drops), least=images)
    cells = np.arange(len(drops))
    positions = process.choose(cells)
    rows = zip(positions, drops, strict=True)
    process.update(cells, [question.base[p] - row[p] for p, row in rows])
    return np.exp(process.wealth)


@pytest.mark.parametrize("images", range(1, 7))
@pytest.mark.parametrize(
    ("base", "drops"), [(1.0, [1, 1, 0, 0, 0, 0]), (0.5, [0.5, 0.5, 0.5, 0, 0, -0.5])]
)
def test_without_replacement_the_mean_wealth_is_one_at_the_tolerance(base, drops, images):
    question = Question(sum(drops) / 6, np.full(6, base))
    orders = np.array(list(permutations(drops)))
    assert wealth(question, orders, images).mean(0) == pytest.approx(1, abs=1e-12)


def test_beyond_the_tolerance_the_mean_wealth_against_not_safe_is_below_one():
    question = Question(1 / 6, np.ones(6))
    orders = np.array(list(permutations([1, 1, 0, 0, 0, 0])))
    safe, sensitive = wealth(question, orders, 4).mean(0)
    assert safe < 1 < sensitive


@pytest.mark.parametrize("images", [1, 3, 5])
def test_of_independent_images_the_mean_wealth_is_one_at_the_tolerance(images):
    question = Question(0.1, np.full(5, 0.5), estimand="population")
    values, chances = [0.5, 0.0, -0.5], [0.3, 0.6, 0.1]
    rows = np.array([[*row, *[0] * (5 - images)] for row in product(values, repeat=images)])
    weights = [prod(row) for row in product(chances, repeat=images)]
    assert np.average(wealth(question, rows, images), 0, weights) == pytest.approx(1, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([1, 0, -1]), min_size=1, max_size=40))
def test_of_independent_images_counts_are_enough(drops):
    base = np.resize([1.0, 0.0], 40)
    base[: len(drops)] = [1.0 if drop >= 0 else 0.0 for drop in drops]
    question = Question(0.05, base, estimand="population")
    logs = wealth(question, np.array([[*drops, *[0] * (40 - len(drops))]]), len(drops))[0]
    broken, repaired = drops.count(1), drops.count(-1)
    rest = len(drops) - broken - repaired
    for side, sign in ((0, 1), (1, -1)):
        bet = SHARES * LARGEST[side] / (1 - sign * 0.05)
        paths = (1 + sign * bet * 0.05) ** rest * (1 - sign * bet * 0.95) ** broken
        paths *= (1 + sign * bet * 1.05) ** repaired
        assert logs[side] == pytest.approx(paths.mean(), rel=1e-9)


def test_the_largest_bet_gains_what_the_closed_form_says():
    tolerance, images = 0.01, 500
    gain = (1 + tolerance / (1 - tolerance)) ** images
    assert gain == pytest.approx((1 - tolerance) ** -images)
    question = Question(tolerance, np.ones(1000), estimand="population")
    log_wealth = wealth(question, np.zeros((1, 1000)), images)[0, 0]
    assert gain / len(SHARES) * 0.95 < log_wealth < gain


def test_closed_form_floors_are_the_published_ones():
    alphas = (0.05, 0.05 / 28, 0.05 / 252)
    assert [fewest(0.01, alpha) for alpha in alphas] == [299, 630, 849]
    assert [ceil(log(alpha) / log(0.99)) for alpha in alphas] == [299, 630, 849]
    question = Question(0.01, np.ones(10_000))
    assert [floor(question, alpha, "uniform") for alpha in alphas] == [427, 765, 973]


@pytest.mark.parametrize("estimand", ["set", "population"])
def test_the_floor_is_where_safe_comes_if_nothing_is_broken(estimand):
    question = Question(0.02, np.ones(3000), estimand=estimand)
    process = Uniform(question, 1, least=1)
    assert decide(process, np.ones((1, 3000)), 0.01) == [Verdict.SAFE]
    least = process.floor(0.01)
    assert least <= process.seen[0] <= least * 17 / 16 + 1  # steps of a sixteenth
    if estimand == "population":
        assert least >= fewest(0.02, 0.01)


def test_repaired_images_do_not_bring_safe_before_the_floor():
    base = np.resize([0.0, 1.0], 2000)
    process = Uniform(Question(0.01, base), 1, least=10)
    assert decide(process, np.ones((1, 2000)), 0.01) == [Verdict.SAFE]
    assert process.log_e[0, 0] > 4 * log(100)
    assert process.seen[0] >= process.floor(0.01)


def test_no_floor_where_the_set_is_too_small_for_the_population():
    assert floor(Question(0.01, np.ones(200), estimand="population"), 0.05, "uniform") is None
    assert floor(Question(0.01, np.ones(200)), 0.05, "uniform") <= 199  # all but two seen


@pytest.mark.parametrize(
    ("drop", "repaired", "published"),
    [(10, 20, 730), (40, 35, 2370), (290, 80, 769), (1100, 30, 83)],
)
def test_images_to_a_decision_are_the_published_ones(drop, repaired, published):
    rng = np.random.default_rng(drop)
    base = rng.permutation(np.repeat([0.0, 1.0], [600, 9400]))
    scores = np.tile(base, (60, 1))
    for row in scores:
        row[rng.choice(np.flatnonzero(base == 1), drop + repaired, replace=False)] = 0
        row[rng.choice(np.flatnonzero(base == 0), repaired, replace=False)] = 1
    process = Uniform(Question(0.01, base), 60, least=10)
    truth = Verdict.SAFE if drop <= 100 else Verdict.SENSITIVE
    wrong = sum(verdict is not truth for verdict in decide(process, scores, 0.05))
    assert wrong <= 8  # 3 on average at most
    assert process.seen.mean() == pytest.approx(published, rel=0.2)


def test_an_ordinary_interval_fails_when_looked_at_early_and_betting_does_not():
    rng = np.random.default_rng(3)
    flips = rng.choice([1.0, 0.0, -1.0], (250, 5000), p=[0.018, 0.974, 0.008])  # drop 0.01
    looks = np.arange(100, 5001, 100)
    mean = np.cumsum(flips, 1)[:, looks - 1] / looks
    share = np.cumsum(flips != 0, 1)[:, looks - 1] / looks
    z_safe = mean + 1.96 * np.sqrt((share - mean**2) / looks) <= 0.01
    assert 0.2 < z_safe.any(1).mean() < 0.45  # published: 32 %, nominal at most 5 %
    question = Question(0.01, np.full(5000, 0.5), estimand="population")
    halved = Question(0.005, question.base, estimand="population")  # scores 0, 1/2, 1
    verdicts = decide(Uniform(halved, 250), 0.5 - flips / 2, 0.05)
    assert sum(verdict is not Verdict.UNDECIDED for verdict in verdicts) <= 0.05 * 250 + 11


def test_scores_that_are_all_right_bet_more_on_sensitive():
    drops = np.zeros((1, 400))
    drops[0, ::20] = 1
    alike = Question(0.01, np.ones(400))
    mixed = Question(0.01, np.append(np.ones(399), 0.0))
    assert wealth(alike, drops, 300)[0, 1] > wealth(mixed, drops, 300)[0, 1]


def test_an_unknown_order_is_refused():
    with pytest.raises(LesionError, match='Expected the order "margin" or "uniform", got \'by\''):
        floor(Question(0.01, np.ones(10)), 0.05, "by")


@pytest.mark.filterwarnings("error")
def test_wealth_beyond_what_a_float_holds_stays_a_number():
    """The last images of a bound far away multiply it by more and more; verdicts stay."""
    base = np.full(600, 0.3)
    process = Uniform(Question(0.5, base), 1, least=10)
    while process.seen[0] < 600:
        (rows,) = process.choose([0])
        process.update([0], [base[rows]])
        assert not np.isnan(process.wealth).any() and not np.isnan(process.log_e).any()
    assert process.log_e[0, 0] == np.inf
