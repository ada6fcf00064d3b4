"""Whole networks' times are found where they are planted, without any clock."""

from itertools import product

import numpy as np
import pytest
import torch
from removal import forward
from small_networks import conv
from torch import nn

import lesion
from lesion.network.dissect import dissect
from lesion.rates import runtimes
from lesion.rates.candidates import Candidate
from lesion.rates.latency import LayerTime
from lesion.rates.whole_times import fitted, missed, smaller, time_network

START, SCALE, EACH, BORDER = 3.0, 0.7, 0.002, 0.004
NUMBERS = (36, 36, 1)  # pixels that each layer of the chain makes


def chain():
    torch.manual_seed(0)
    return nn.Sequential(
        conv(3, 16), nn.BatchNorm2d(16), nn.ReLU(), conv(16, 24), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5),
    ).eval()  # fmt: skip


def law(reads, makes):
    """0.5 + 0.01 · reads · makes, a half more of what is read where that is no whole fours."""
    more = 1.5 if reads > 8 and reads % 4 else 1.0
    return 0.5 + 0.01 * reads * more * makes


def layers_of(module):
    return [m for m in module.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]


def widths(layer):
    return tuple(layer.weight.shape[:2][::-1])


def planted(module, images):
    """What the laws say of one layer, and the sum that is to be found of a whole network."""
    layers = layers_of(module)
    if len(layers) == 1:
        return law(*widths(layers[0]))
    made = [pixels * layer.weight.shape[0] for pixels, layer in zip(NUMBERS, layers, strict=True)]
    reads = [pixels * widths(layer)[0] for pixels, layer in zip(NUMBERS, layers, strict=True)
             if widths(layer)[0] > 8 and widths(layer)[0] % 4]  # fmt: skip
    alone = sum(law(*widths(layer)) for layer in layers)
    return START + SCALE * alone + EACH * sum(made) + BORDER * sum(reads)


def test_the_numbers_behind_whole_networks_are_found():
    times = lesion.time(chain(), torch.randn(2, 3, 6, 6), batch=4, runtime=planted)
    assert times.whole == planted(chain(), None)
    numbers = times.start, times.scale, times.each, times.border
    assert numbers == pytest.approx((START, SCALE, EACH, BORDER), rel=1e-6)
    assert times.networks >= 6 and times.miss == pytest.approx(0, abs=1e-6)


def test_networks_that_were_not_timed_are_predicted():
    """Against what the planted clock says of chains that are built so narrow."""
    network, x = chain(), torch.randn(2, 3, 6, 6)
    dissection = dissect(network, forward, x)
    times = time_network(dissection, x, 4, planted)
    lost = (0, 1, 5, 8)
    choices = {
        unit: tuple(Candidate(n / size, np.arange(size) < n) for n in lost)
        for unit, size in (("0", 16), ("3", 24))
    }
    account = times.account(dissection.anatomy, choices)
    for first, second in product(range(4), range(4)):
        here, there = 16 - lost[first], 24 - lost[second]
        narrow = nn.Sequential(conv(3, here), conv(here, there), nn.Linear(there, 5))
        choice = {"0": first, "3": second}
        assert account.at(choice) == pytest.approx(planted(narrow, None), rel=1e-6)


def test_smaller_networks_differ_and_lack_what_they_are_said_to():
    network, x = chain(), torch.randn(2, 3, 6, 6)
    dissection = dissect(network, forward, x)
    seen = set()
    for gone, small in smaller(dissection):
        kept = [
            int((~gone[unit.first : unit.first + unit.channels]).sum())
            for unit in dissection.anatomy.units if unit.kind == "free"
        ]  # fmt: skip
        assert [layer.weight.shape[0] for layer in layers_of(small)[:2]] == kept
        assert small(x).shape == network(x).shape and min(kept) >= 1
        seen.add(tuple(kept))
    assert len(seen) >= 6 and (12, 18) in seen and (8, 12) in seen and (4, 6) in seen
    assert [layer.weight.shape[0] for layer in layers_of(network)] == [16, 24, 5]


def test_without_anything_to_slice_the_intact_network_has_to_do():
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).eval()
    times = lesion.time(network, torch.randn(2, 3, 2, 2), batch=4, runtime=lambda *_: 4.0)
    assert times.networks == 0 and times.whole == 4.0
    account = times.account(lesion.layers(network, torch.randn(2, 3, 2, 2)), {})
    assert account.intact == pytest.approx(4.0)


@pytest.mark.parametrize("alone", [60.0, 150.0])
def test_an_intact_network_alone_is_predicted_as_it_is(alone):
    start, scale, each, _ = fitted(np.array([[1.0, alone, 1000.0, 0.0]]), np.array([100.0]))
    assert start + scale * alone + each * 1000 == pytest.approx(100)
    assert start == 0 and scale == min(1, 100 / alone)


def test_what_leaving_out_misses():
    """Where layers alone count, shares are those of their sums, whatever was fitted."""
    alone = np.array([10.0, 5.0, 4.0])
    table = np.column_stack([np.zeros(3), alone, np.zeros((3, 2))])
    shares = np.array([1.0, 0.6, 0.3])
    assert missed(table, shares) == pytest.approx(
        np.sqrt(((0.5 / 0.6 - 1) ** 2 + (0.4 / 0.3 - 1) ** 2) / 2)
    )


def test_a_network_that_takes_labels_too():
    """The runtime is given images alone."""
    x = torch.randn(2, 3, 6, 6)

    def runs(module, images):
        with torch.no_grad():
            return 1.0 + float(module(images).shape[0])

    times = lesion.time(chain(), (x, torch.zeros(2, dtype=torch.long)), batch=4, runtime=runs)
    assert times.whole == 5.0


def test_layers_that_run_without_a_law_are_no_hindrance(monkeypatch):
    """Transposed and grouped ones, by one time each."""
    monkeypatch.setattr(runtimes, "TURN", 0.001)
    network = nn.Sequential(
        nn.ConvTranspose2d(3, 12, 2), nn.ReLU(), nn.Conv2d(12, 12, 3, groups=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5),
    ).eval()  # fmt: skip
    times = lesion.time(network, torch.randn(2, 3, 6, 6), batch=2)
    assert [timed.layer for timed in times.layers] == ["0", "2", "6"]
    assert all(isinstance(timed, LayerTime) and any(timed.law) for timed in times.layers)
    assert times.networks > 0 and np.isfinite(times.miss)
