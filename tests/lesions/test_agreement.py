"""How rankings agree: Spearman's correlation, its interval over layers, and the two tables."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr

from lesion.lesions.agreement import Scored, by_criterion, by_layer, interval, scaled, spearman

few = st.lists(st.integers(0, 4), min_size=3, max_size=12)  # with many ties


@given(few, st.integers(0, 10_000))
def test_spearman_is_pearson_of_mean_ranks(first, seed):
    """scipy's, and the correlation of the ranks by its definition."""
    first = np.array(first, float)
    second = np.random.default_rng(seed).integers(0, 4, len(first)).astype(float)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert np.isnan(spearman(first, second))
        return
    assert spearman(first, second) == pytest.approx(spearmanr(first, second).statistic)
    ranks = [rankdata(side) - (len(first) + 1) / 2 for side in (first, second)]
    wanted = (ranks[0] * ranks[1]).sum() / np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum())
    assert spearman(first, second) == pytest.approx(wanted)


@given(st.permutations(range(7)))
def test_without_ties_it_is_the_formula_of_differences(order):
    differences = np.arange(7) - np.array(order)
    wanted = 1 - 6 * (differences**2).sum() / (7 * (49 - 1))
    assert spearman(np.arange(7), np.array(order)) == pytest.approx(wanted)


def test_there_is_none_of_fewer_than_two():
    assert np.isnan(spearman(np.array([1.0]), np.array([2.0])))
    assert np.isnan(spearman(np.zeros(0), np.zeros(0)))


def test_the_interval_is_that_of_a_mean():
    """Of many layers the bootstrap's ends are the mean ± 1.96 standard errors."""
    values = np.random.default_rng(1).normal(0.5, 0.2, 400)
    low, high = interval(values, 95)
    error = values.std() / 20
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)
    narrow = interval(values, 80)
    assert narrow[1] - narrow[0] == pytest.approx(2 * 1.2816 * error, rel=0.05)


def test_the_interval_of_two_layers_and_of_one():
    """Of two the mean of a draw is either or between: the ends are both values."""
    assert interval(np.array([0.2, 0.6]), 95) == (0.2, 0.6)
    assert np.isnan(interval(np.array([0.5]), 95)).all()


def scored(name, needs, scores, halves=(), reasons=None):
    return Scored(name, needs, 100 if halves else 0, scores, halves, reasons or {}, 1.5)


NAMES = {"free/a": ("a", "free"), "branch/b": ("b", "branch")}
ORACLE = scored(
    "oracle", "removals",
    {"free/a": np.array([1.0, 2.0, 3.0, 4.0]), "branch/b": np.array([10.0, 30.0, 20.0])},
    [{"free/a": np.array([1.0, 2.0, 3.0, 4.0]), "branch/b": np.array([1.0, 2.0, 3.0])},
     {"free/a": np.array([2.0, 1.0, 4.0, 3.0]), "branch/b": np.array([1.0, 2.0, 3.0])}],
)  # fmt: skip


def tables(*others):
    every = (ORACLE, *others)
    cells = by_layer(every, ORACLE, NAMES)
    frame = by_criterion(every, ORACLE, cells, 95)
    return cells.set_index(["criterion", "layer"]), frame.set_index("criterion")


def test_layers_and_their_mean():
    cells, frame = tables(
        scored("same", "weights", {"free/a": np.array([1.0, 5.0, 6.0, 7.0]),
                                   "branch/b": np.array([1.0, 2.0, 3.0])}),
    )  # fmt: skip
    assert cells.loc[("same", "a"), "spearman"] == pytest.approx(1)
    assert cells.loc[("same", "b"), "spearman"] == pytest.approx(0.5)  # 1 − 6 · 2 / 24
    assert cells.loc[("same", "b"), ["kind", "channels"]].tolist() == ["branch", 3]
    row = frame.loc["same"]
    assert row["spearman"] == pytest.approx(0.75) and row["layers"] == 2
    assert (row["low"], row["high"]) == pytest.approx((0.5, 1.0))
    assert np.isnan(row["halves"]) and row["images"] == 0 and row["reason"] == ""


def test_over_all_layers_scaling_counts():
    """Large scores of the layer that matters less: raw they rank it first, scaled alike."""
    _, frame = tables(
        scored("huge", "weights", {"free/a": np.array([1.0, 2.0, 3.0, 4.0]) * 100,
                                   "branch/b": np.array([1.0, 3.0, 2.0])}),
    )  # fmt: skip
    measured = np.array([1.0, 2, 3, 4, 10, 30, 20])
    raw = np.array([100.0, 200, 300, 400, 1, 3, 2])
    alike = np.concatenate([np.arange(1, 5) / np.sqrt(30), np.array([1, 3, 2]) / np.sqrt(14)])
    assert frame.loc["huge", "spearman"] == pytest.approx(1)
    assert frame.loc["huge", "raw"] == pytest.approx(spearmanr(raw, measured).statistic)
    assert frame.loc["huge", "scaled"] == pytest.approx(spearmanr(alike, measured).statistic)
    assert frame.loc["huge", "raw"] < 0 < frame.loc["huge", "scaled"]


def test_the_oracle_has_its_halves_alone():
    cells, frame = tables()
    assert cells.loc[("oracle", "a"), "halves"] == pytest.approx(1 - 6 * 4 / 60)
    assert frame.loc["oracle", "halves"] == pytest.approx((0.6 + 1) / 2)
    assert frame.loc["oracle", ["spearman", "low", "raw", "scaled"]].isna().all()
    assert frame.loc["oracle", ["images", "layers", "seconds"]].tolist() == [100, 2, 1.5]


def test_layers_without_a_number_have_a_reason_and_are_counted():
    cells, frame = tables(
        scored("some", "activations", {"branch/b": np.array([1.0, 3.0, 2.0])},
               reasons={"free/a": "no activation follows it directly"}),
        scored("flat", "weights", {"free/a": np.ones(4), "branch/b": np.array([1.0, 3.0, 2.0])}),
        scored("none", "weights", {}, reasons=dict.fromkeys(NAMES, "it needs another network")),
    )  # fmt: skip
    assert cells.loc[("some", "a"), "reason"] == "no activation follows it directly"
    assert cells.loc[("flat", "a"), "reason"] == "by flat its channels are all worth the same"
    assert frame.loc["some", "layers"] == frame.loc["flat", "layers"] == 1
    assert frame.loc["some", "reason"] == "1 of 2 layers: no activation follows it directly"
    assert frame.loc["some", "raw"] == pytest.approx(1)
    assert frame.loc["none", ["spearman", "raw", "scaled"]].isna().all()
    assert frame.loc["none", "reason"] == "2 of 2 layers: it needs another network"


def test_channels_that_the_oracle_cannot_tell_apart():
    oracle = scored("oracle", "removals", {"free/a": np.zeros(4)})
    cells = by_layer((scored("l1", "weights", {"free/a": np.arange(4.0)}),), oracle, NAMES)
    assert cells["reason"].tolist() == ["by oracle its channels are all worth the same"]


def test_nothing_is_scaled_to_nothing():
    assert scaled(np.zeros(3)).tolist() == [0, 0, 0]
