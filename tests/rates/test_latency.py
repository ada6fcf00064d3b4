"""Tables of times: their law, their account, their file. How long things take is not tested."""

import math

import numpy as np
import pytest
import torch
from anatomies import anatomy
from removal import forward
from torch import nn

from lesion.errors import LesionError
from lesion.network.dissect import dissect
from lesion.rates.candidates import Candidate
from lesion.rates.latency import WIDTHS, LayerTime, Times, _in_blocks, fitted, time_layers


def chain():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2),
    ).eval()  # fmt: skip


LAWS = {"0": (1.0, 2.0, 3.0, 4.0), "3": (0.5, 0.0, 1.0, 2.0), "6": (0.1, 0.2, 0.3, 0.4)}
TIMES = Times("cpu", 1, 32, 100.0, 10.0, tuple(LayerTime(n, law, 0.3) for n, law in LAWS.items()))


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
    expected = 0.0
    for name, (reads, makes) in widths.items():
        a, b, c, d = LAWS[name]
        expected += a + b * reads + c * makes + d * reads * makes
    numbers = {"0": 36 * (4 - 2 * first), "3": 16 * (6 - 3 * second), "6": 2}
    expected += 10.0 * sum(numbers.values()) / (36 * 4 + 16 * 6 + 2)
    assert account.at({"0": first, "3": second}) == pytest.approx(expected)


@pytest.mark.parametrize("blocks", [(1, 1), (8, 1), (1, 16), (4, 8)])
def test_the_account_counts_whole_blocks(blocks):
    """By brute force: what the law says at the widths that stay, counted up to blocks."""
    law = (1.0, 2.0, 3.0, 4.0)
    traced = anatomy(chain())
    layers = tuple(LayerTime(name, law, 0.3, blocks) for name in LAWS)
    account = Times("cpu", 1, 32, 100.0, 0.0, layers).account(traced, candidates(traced))
    for first, second in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        expected = 0.0
        made = {"0": (3, 4 - 2 * first), "3": (4 - 2 * first, 6 - 3 * second),
                "6": (6 - 3 * second, 2)}  # fmt: skip
        for widths in made.values():
            reads, makes = (math.ceil(n / b) * b for n, b in zip(widths, blocks, strict=True))
            expected += 1 + 2 * reads + 3 * makes + 4 * reads * makes
        assert account.at({"0": first, "3": second}) == pytest.approx(expected)


def test_an_axis_of_several_units_stays_as_it_is():
    """A concatenation: what each unit takes in blocks is unknown."""
    falls = {"a": np.array([0, 5]), "b": np.array([0, 3])}
    size, terms = _in_blocks(24, falls, 16)
    assert size == 32 and terms is falls
    size, terms = _in_blocks(24, {"a": np.array([0, 5, 9])}, 16)
    assert size == 32 and terms["a"].tolist() == [0, 0, 16]


@pytest.mark.parametrize("blocks", [(1, 1), (1, 16), (8, 16), (16, 32), (32, 1)])
@pytest.mark.parametrize("noise", [0, 0.01])
def test_blocks_are_found(blocks, noise):
    """Times of a planted law, on the very widths that layers are measured at."""
    planted = LayerTime("a", (0.1, 0.002, 0.003, 0.001), 0.0, blocks)
    numbers = np.random.default_rng(0)
    widths = [(round(r * 128), round(m * 64)) for r in WIDTHS for m in WIDTHS]
    times = [planted.at(*width) * (1 + noise * numbers.standard_normal()) for width in widths]
    law = fitted("a", widths, times)
    assert law.blocks == blocks
    for width in [(128, 64), (90, 33), (17, 50)]:
        assert law.at(*width) == pytest.approx(planted.at(*width), rel=3 * noise + 1e-6)


def test_no_block_is_larger_than_the_layer():
    """Times that do not depend on the widths, so that any block would do, and noise."""
    times = 1 + 0.1 * np.random.default_rng(0).random(36)
    law = fitted("a", [(r, m) for r in range(1, 7) for m in range(1, 7)], times.tolist())
    assert max(law.blocks) <= 4


def test_every_layer_is_timed_and_the_law_is_no_nonsense():
    network = chain()
    x = torch.randn(2, 3, 6, 6)
    times = time_layers(dissect(network, forward, x), x, batch=4)
    assert [timed.layer for timed in times.layers] == ["0", "3", "6"]
    assert times.batch == 4 and times.whole > 0 and times.rest >= 0
    for timed in times.layers:
        assert all(value >= 0 for value in timed.law) and any(timed.law)


def test_a_table_is_saved_and_read(tmp_path):
    TIMES.save(tmp_path / "times.json")
    assert Times.load(tmp_path / "times.json") == TIMES
    assert TIMES.spread == pytest.approx(0.3 * np.sqrt(3))


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
