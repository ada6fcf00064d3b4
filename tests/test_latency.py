"""Tables of times: their law, their account, their file. How long things take is not tested."""

import numpy as np
import pytest
import torch
from anatomies import anatomy
from removal import forward
from torch import nn

from lesion.candidates import Candidate
from lesion.dissect import dissect
from lesion.errors import LesionError
from lesion.latency import LayerTime, Times, time_layers


def chain():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2),
    ).eval()  # fmt: skip


LAWS = {"0": (1.0, 2.0, 3.0, 4.0), "3": (0.5, 0.0, 1.0, 2.0), "6": (0.1, 0.2, 0.3, 0.4)}
TIMES = Times("cpu", 1, 32, 100.0, 10.0, tuple(LayerTime(n, law, 0.3) for n, law in LAWS.items()))


def candidates(found):
    none, two = np.zeros(4, bool), np.array([True, True, False, False])
    three = np.array([True, True, True, False, False, False])
    return {
        "0": (Candidate(0, none), Candidate(0.5, two)),
        "3": (Candidate(0, np.zeros(6, bool)), Candidate(0.5, three)),
    }


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("second", [0, 1])
def test_the_account_is_the_laws_at_the_widths_that_stay(first, second):
    found = anatomy(chain())
    account = TIMES.account(found, candidates(found))
    widths = {"0": (3, 4 - 2 * first), "3": (4 - 2 * first, 6 - 3 * second),
              "6": (6 - 3 * second, 2)}  # fmt: skip
    expected = 0.0
    for name, (reads, makes) in widths.items():
        a, b, c, d = LAWS[name]
        expected += a + b * reads + c * makes + d * reads * makes
    numbers = {"0": 36 * (4 - 2 * first), "3": 16 * (6 - 3 * second), "6": 2}
    expected += 10.0 * sum(numbers.values()) / (36 * 4 + 16 * 6 + 2)
    assert account.at({"0": first, "3": second}) == pytest.approx(expected)


def test_every_layer_is_timed_and_the_law_is_no_nonsense():
    network = chain()
    x = torch.randn(2, 3, 6, 6)
    times = time_layers(dissect(network, forward, x), x, batch=4)
    assert [one.layer for one in times.layers] == ["0", "3", "6"]
    assert times.batch == 4 and times.whole > 0 and times.rest >= 0
    for one in times.layers:
        assert all(value >= 0 for value in one.law) and any(one.law)


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
    other = anatomy(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 2)).eval())
    with pytest.raises(LesionError, match="Expected a table of times of this network"):
        TIMES.account(other, {})
