"""Tables of times: their law, their account, their file. How long things take is not tested."""

import json
import math
from functools import partial
from itertools import product

import numpy as np
import pytest
from anatomies import anatomy
from torch import nn

from lesion.errors import LesionError
from lesion.rates.candidates import Candidate
from lesion.rates.costs import Account, Product
from lesion.rates.latency import LayerTime, Times, _counted, parts
from lesion.rates.latency import counted as counted_as
from lesion.rates.milp import Bound, Problem, solve


def chain():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2),
    ).eval()  # fmt: skip


LAWS = {"0": (1.0, 2.0, 3.0, 4.0), "3": (0.5, 0.0, 1.0, 2.0), "6": (0.1, 0.2, 0.3, 0.4)}
LAYERS = tuple(LayerTime(name, law, 0.3) for name, law in LAWS.items())
TIMES = Times("cpu", 1, 32, 100.0, LAYERS, 7.0, 2.0, 0.1, 0.3, 0.04, 9)


def candidates(traced):
    none, two = np.zeros(4, bool), np.array([True, True, False, False])
    three = np.array([True, True, True, False, False, False])
    return {
        "0": (Candidate(0, none), Candidate(0.5, two)),
        "3": (Candidate(0, np.zeros(6, bool)), Candidate(0.5, three)),
    }


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("second", [0, 1])
def test_the_account_is_the_laws_at_the_widths_that_stay(first, second):
    traced = anatomy(chain())
    account = TIMES.account(traced, candidates(traced))
    widths = {"0": (3, 4 - 2 * first), "3": (4 - 2 * first, 6 - 3 * second),
              "6": (6 - 3 * second, 2)}  # fmt: skip
    alone = 0.0
    for name, (reads, makes) in widths.items():
        a, b, c, d = LAWS[name]
        alone += a + b * reads + c * makes + d * reads * makes
    numbers = 36 * (4 - 2 * first) + 16 * (6 - 3 * second) + 2
    expected = 7.0 + 2.0 * alone + 0.1 * numbers
    assert account.at({"0": first, "3": second}) == pytest.approx(expected)
    gone = np.zeros(traced.channels, bool)
    for unit, lost in (("0", 2 * first), ("3", 3 * second)):
        gone[traced.unit[unit].first :][:lost] = True
    assert parts(traced, LAYERS, gone) == pytest.approx((1, alone, numbers, 0))


def counted(channels, block, ragged=0.0):
    """By another way than the table's."""
    whole = math.ceil(channels / block) * block
    return whole + (ragged * whole if channels > 8 and channels % 4 > 0 else 0)


@pytest.mark.parametrize("blocks", [(1, 1), (8, 1), (1, 16), (4, 8)])
@pytest.mark.parametrize("ragged", [-0.5, 0.0, 2.5])
def test_the_account_counts_whole_blocks_and_fours(blocks, ragged):
    """By brute force: what the law says at the widths that stay, counted up to blocks; a part that
    is no whole fours counts as more than the whole."""
    wide = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 20, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(20, 2),
    ).eval()  # fmt: skip
    traced = anatomy(wide)
    layers = [LayerTime(x.name, (1.0, 2.0, 3.0, 4.0), 0.3, blocks, ragged) for x in traced.layers]
    choices = {
        unit: tuple(Candidate(n, np.arange(size) < n) for n in (0, 1, 4))
        for unit, size in (("0", 12), ("2", 20))
    }
    account = Times("cpu", 1, 32, 100.0, tuple(layers), border=0.5).account(traced, choices)
    for first, second in product(range(3), range(3)):
        here, there = 12 - (0, 1, 4)[first], 20 - (0, 1, 4)[second]
        expected = 0.0
        for pixels, reads, makes in ((36, 3, here), (16, here, there), (1, there, 2)):
            expected += 0.5 * pixels * (reads if reads > 8 and reads % 4 > 0 else 0)
            r, m = counted(reads, blocks[0], ragged), counted(makes, blocks[1])
            expected += 1 + 2 * r + 3 * m + 4 * r * m
        choice = {"0": first, "2": second}
        assert account.at(choice) == pytest.approx(expected)
        each = account.each(choice, {"0": 3, "2": 3})
        for unit, place in product(choice, range(3)):
            assert each[unit][place] == pytest.approx(account.at({**choice, unit: place}))


@pytest.mark.parametrize("share", [0.95, 0.8, 0.6])
def test_the_solver_knows_that_less_can_take_longer(share):
    """The best choice by trying all: without one channel a layer counts more than with it."""
    falls = {unit: np.array([0.0, -6.0, 4.0]) for unit in "ab"}
    account = Account((Product(1.0, 12.0, 12.0, {"a": falls["a"]}, {"b": falls["b"]}),))
    loss = {"a": np.array([0.0, 0.1, 0.5]), "b": np.array([0.0, 0.2, 0.4])}
    most = share * 144
    choices = [dict(zip("ab", places, strict=True)) for places in product(range(3), range(3))]
    fit = [choice for choice in choices if account.at(choice) <= most]
    best = min(fit, key=lambda choice: sum(loss[unit][at] for unit, at in choice.items()))
    assert solve(Problem(loss, [Bound(account, most)])) == best


def test_an_axis_of_several_units_goes_in_proportion():
    """A concatenation: what the units leave together in blocks is unknown."""
    in_blocks = partial(counted_as, block=16)
    size, terms = _counted(24, {"a": np.array([0, 6]), "b": np.array([0, 3])}, in_blocks)
    assert size == 32 and terms["a"].tolist() == [0, 8] and terms["b"].tolist() == [0, 4]
    size, terms = _counted(24, {"a": np.array([0, 5, 9])}, in_blocks)
    assert size == 32 and terms["a"].tolist() == [0, 0, 16]


def test_a_table_is_saved_and_read(tmp_path):
    TIMES.save(tmp_path / "times.json")
    assert Times.load(tmp_path / "times.json") == TIMES
    assert "9 smaller networks are predicted to within 4.0 %" in TIMES.known
    assert "no smaller network" in Times("cpu", 1, 32, 100.0, LAYERS).known


def test_a_table_of_another_version(tmp_path):
    path = tmp_path / "times.json"
    entry = {"layer": "0", "law": [1, 2, 3, 4], "spread": 0.1, "blocks": [1, 1]}
    old = {"device": "cpu", "threads": 1, "batch": 32, "whole": 9.0, "rest": 1.0}
    path.write_text(json.dumps({**old, "layers": [entry]}))
    with pytest.raises(LesionError, match=r"of format 2 .* another version .* measure the times"):
        Times.load(path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"layers": [{}]}'])
def test_what_is_no_table(tmp_path, content):
    path = tmp_path / "times.json"
    path.write_text(content)
    with pytest.raises(LesionError, match="Expected a table of times as `lesion time` writes it"):
        Times.load(path)


def test_a_table_of_another_network():
    foreign = anatomy(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 2)).eval())
    with pytest.raises(LesionError, match="Expected a table of times of this network"):
        TIMES.account(foreign, {})
