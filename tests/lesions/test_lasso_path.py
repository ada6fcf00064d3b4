"""The path of a Lasso fit: its conditions at every price, and fits by coordinate descent."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lesion.lesions.criteria.lasso import prices
from lesion.lesions.lasso_path import path


def drawn(seed, columns, rows, mixed):
    """Products of columns, correlated if mixed, and of what is to be fitted."""
    numbers = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, columns, generator=numbers).double()
    if mixed:
        x = x @ torch.randn(columns, columns, generator=numbers).double()
    y = torch.randn(rows, generator=numbers).double()
    return x.T @ x, x.T @ y


def descended(products, aims, price):
    """The factors by coordinate descent."""
    factors = torch.zeros_like(aims)
    for _ in range(20_000):
        before = factors.clone()
        for place in range(len(aims)):
            own = products[place, place]
            rest = aims[place] - products[place] @ factors + own * factors[place]
            factors[place] = rest.sign() * (rest.abs() - price).clamp(min=0) / own
        if (factors - before).abs().max() < 1e-13:
            break
    return factors


def test_a_fit_of_two_columns():
    """Z = [[1, 1], [1, −1]], y = (3, 1): (2, 1) by least squares, (.5, 0) at λ = 1.5 a row."""
    z, y = torch.tensor([[1.0, 1.0], [1.0, -1.0]]).double(), torch.tensor([3.0, 1.0]).double()
    (first, none), (second, one), (last, both) = path(z.T @ z, z.T @ y)
    assert (first, second, last) == pytest.approx((4, 2, 0))
    assert none.tolist() == [0, 0] and both.tolist() == pytest.approx([2, 1])
    assert ((none + one) / 2).tolist() == pytest.approx([0.5, 0])
    assert prices(z.T @ z, z.T @ y).tolist() == pytest.approx([4, 2])


@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(0, 12), st.booleans())
def test_every_fit_of_the_path_is_best(seed, columns, more, mixed):
    """What a column is worth, b − Gβ, is ±λ where its factor is not zero, and at most λ elsewhere:
    no other factors are better (Karush, Kuhn and Tucker)."""
    products, aims = drawn(seed, columns, columns + more, mixed)
    steps = list(path(products, aims))
    size = float(aims.abs().max())
    assert steps[0][0] == size and steps[-1][0] <= 1e-9 * size
    for (high, before), (low, after) in pairwise(steps):
        price, factors = (high + low) / 2, (before + after) / 2
        worth = aims - products @ factors
        assert high > low and bool((worth.abs() <= price + 1e-6 * size).all())
        active = factors != 0
        assert (worth[active] - price * factors[active].sign()).abs().sum() <= 1e-5 * size


@given(st.integers(0, 10_000))
def test_prices_say_who_stays(seed):
    """In fits by coordinate descent: zero above its price, not zero just below."""
    products, aims = drawn(seed, 5, 30, mixed=False)
    found = prices(products, aims)
    assert bool((found > 0).all())
    for place, price in enumerate(found.tolist()):
        assert descended(products, aims, price * 1.0001)[place] == 0
        assert descended(products, aims, price * 0.999)[place] != 0


def test_what_others_add_up_to_never_takes_part():
    numbers = torch.Generator().manual_seed(0)
    x = torch.randn(40, 4, generator=numbers).double()
    x = torch.cat([x, 2 * x[:, :1], torch.zeros(40, 1)], 1)  # twice the first; nothing at all
    products = x.T @ x
    found = prices(products, products.sum(1))
    assert [place for place, price in enumerate(found.tolist()) if price == 0] == [0, 5]
