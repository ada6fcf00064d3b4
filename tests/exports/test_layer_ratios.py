"""Ratios that other tools round to exactly the count that was meant."""

import pytest
from allocations import plain, unit
from anatomies import labels, planted
from hypothesis import given
from hypothesis import strategies as st

from lesion.errors import LesionError
from lesion.exports.layer_ratios import Share, shares, staying


@given(st.integers(2, 4096).flatmap(lambda n: st.tuples(st.integers(1, n - 1), st.just(n))))
def test_every_count_comes_out(case):
    pruned, filters = case
    share = Share("a", pruned, filters)
    for parts in (n for n in range(1, 65) if pruned % n == filters % n == 0):
        k, n = pruned // parts, filters // parts
        assert n - int(n * (1 - share.leaving)) == k
        assert int(n * share.taking) == k
    assert abs(share.leaving - pruned / filters) < 2e-9
    assert abs(share.taking - pruned / filters) < 2e-9


def test_the_plain_ratio_would_have_been_one_off():
    assert 5 - int(5 * (1 - 4 / 5)) == 5  # all of five filters, where four were meant
    assert int(22 * (15 / 22)) == 14
    assert Share("a", 4, 5).leaving != 4 / 5
    assert Share("a", 15, 22).taking != 15 / 22
    assert Share("a", 1, 4).leaving == Share("a", 1, 4).taking == 0.25


def test_shares_of_free_and_coupled_units():
    rates = plain((
        unit("a", 10, tuple(range(7))),
        unit("b", 4, (0, 2), b=(0, 2), c=(0, 2)),
        unit("d", 3, (1,), d=(1,), depthwise=(2, 3)),  # with two filters a channel
        unit("whole", 3, (0, 1, 2)),
    ))  # fmt: skip
    assert shares(rates) == {
        "a": Share("a", 3, 10), "b": Share("b", 2, 4), "c": Share("b", 2, 4),
        "d": Share("d", 2, 3), "depthwise": Share("d", 4, 6),
    }  # fmt: skip
    stay = staying(rates)
    assert stay["c"].tolist() == [True, False, True, False]
    assert stay["depthwise"].tolist() == [False, False, True, True, False, False]


def test_conflicting_ratios_in_a_group_are_refused():
    rates = plain((unit("a", 8, (0, 1, 2, 3), a=(0, 1, 2, 3), b=(0, 1, 2, 3, 4)),))
    with pytest.raises(LesionError) as error:
        shares(rates)
    assert str(error.value) == (
        "Expected one ratio for all that falls together, but 5 filters of b stay, but 4 channels "
        "of its unit a; hand over which filters stay instead of ratios (--to masks, or "
        "torch-pruning)."
    )


def test_a_layer_that_falls_with_two_units_by_different_ratios_is_refused():
    rates = plain((unit("a", 2, (0,), a=(0,), c=(0,)), unit("b", 4, (0,), b=(0,), c=(0,))))
    with pytest.raises(LesionError, match="c falls both with a and with b"):
        shares(rates)


def test_filters_that_are_numbered_otherwise_need_the_anatomy():
    anatomy = planted("gated_halves")  # a's 12 filters are 6 values, then 6 gates
    kept = tuple(n for n in range(12) if n % 6 not in (1, 4))
    first = anatomy.unit["a"].first
    assert [label - first for label in labels(anatomy, "a")] == [*range(6), *range(6)]
    rates = plain((unit("a", 6, (0, 2, 3, 5), a=kept),))
    with pytest.raises(LesionError, match="numbered as the channels of its unit a, but they are"):
        shares(rates)
    assert shares(rates, anatomy) == {"a": Share("a", 4, 12)}
    assert (~staying(rates, anatomy)["a"]).nonzero()[0].tolist() == [1, 4, 7, 10]
