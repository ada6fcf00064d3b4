"""Layers' laws are found where they are planted. How long things take is not tested."""

from itertools import product

import numpy as np
import pytest
import torch
from removal import forward
from small_networks import conv
from torch import nn

from lesion.network.dissect import dissect
from lesion.rates.latency import LayerTime
from lesion.rates.layer_times import fitted, time_layers, widths_of

WIDTHS = list(product(widths_of(128), widths_of(64)[::-2]))  # as layers are measured at


@pytest.mark.parametrize("blocks", [(1, 1), (1, 16), (8, 16), (16, 32), (32, 1)])
@pytest.mark.parametrize("ragged", [-0.5, 0, 0.4, 1.5])
@pytest.mark.parametrize("noise", [0, 0.01])
def test_blocks_and_what_is_no_whole_fours_are_found(blocks, ragged, noise):
    planted = LayerTime("a", (0.1, 0.002, 0.003, 0.001), 0.0, blocks, ragged)
    numbers = np.random.default_rng(0)
    times = [planted.at(*width) * (1 + noise * numbers.standard_normal()) for width in WIDTHS]
    law = fitted("a", WIDTHS, times)
    assert law.blocks == blocks
    assert law.ragged == pytest.approx(ragged, abs=noise + 1e-6)
    for width in [(128, 64), (90, 33), (17, 50)]:
        assert law.at(*width) == pytest.approx(planted.at(*width), rel=3 * noise + 1e-6)


def test_no_block_is_larger_than_the_layer():
    """Times that do not depend on the widths, so that any block would do, and noise."""
    times = 1 + 0.1 * np.random.default_rng(0).random(36)
    law = fitted("a", [(r, m) for r in range(1, 7) for m in range(1, 7)], times.tolist())
    assert max(law.blocks) <= 4


@pytest.mark.parametrize("channels", [1, 3, 8, 9, 16, 48, 100])
def test_widths_are_some_of_each_kind(channels):
    widths = widths_of(channels)
    assert widths == sorted(set(widths)) and widths[-1] == channels and widths[0] >= 1
    if channels > 12:
        assert {width % 4 == 0 for width in widths if width > 8} == {True, False}


def depthwise():
    return nn.Sequential(
        conv(3, 24), nn.ReLU(), conv(24, 24, groups=24), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 2),
    ).eval()  # fmt: skip


def test_depthwise_layers_run_at_several_widths():
    """A plain loop of multiply-adds and a share more where channels are no whole fours."""

    def planted(module, images):
        channels = images.shape[1]
        more = 3.0 if channels > 8 and channels % 4 else 0.0
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            assert module.groups == module.in_channels == module.out_channels == channels
            return 0.25 + 0.5 * channels * (1 + more)
        return 1.0

    network, x = depthwise(), torch.randn(2, 3, 6, 6)
    laws = {law.layer: law for law in time_layers(dissect(network, forward, x), [x], planted)}
    for width in (24, 20, 17, 11):
        more = 3.0 if width % 4 else 0.0
        assert laws["2"].at(width, width) == pytest.approx(0.25 + 0.5 * width * (1 + more))


def test_every_layer_is_timed_and_the_law_is_no_nonsense():
    network, x = depthwise(), torch.randn(2, 3, 6, 6)
    layers = time_layers(dissect(network, forward, x), [x])
    assert [timed.layer for timed in layers] == ["0", "2", "6"]
    for timed in layers:
        assert all(value >= 0 for value in timed.law) and any(timed.law)
