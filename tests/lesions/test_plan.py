"""What is cut and what is not: counts, cells, targets, keys."""

from fractions import Fraction

import networks
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lesion.errors import LesionError
from lesion.lesions.amounts import RATIOS
from lesion.lesions.damage import Settings, plan
from lesion.lesions.damage.filters import damage as filters
from lesion.lesions.lesion import Lesion, Skipped, Target
from lesion.lesions.ratios import dropped, falling, kept
from lesion.lesions.targets import targets
from lesion.network.dissect import dissect
from lesion.network.layers import layers
from lesion.sweeps.choices import Choices
from lesion.zoo.networks import CifarResNet

BODY = layers(CifarResNet(20), torch.zeros(2, 3, 32, 32))
FREE = [f"layer{stage}.{block}.conv1" for stage in (1, 2, 3) for block in range(3)]


@given(st.integers(1, 2048), st.integers(1, 99))
def test_what_is_kept_is_the_floor_of_exact_arithmetic(channels, percent):
    exact = int(channels * (1 - Fraction(percent, 100)))
    assert kept(channels, percent / 100) == max(1, exact)


@given(st.integers(1, 2048), st.integers(1, 99))
def test_nearest_is_at_most_half_a_filter_off(channels, percent):
    stay = kept(channels, percent / 100, "nearest")
    exact = channels * (1 - Fraction(percent, 100))
    assert stay == 1 or abs(stay - exact) <= Fraction(1, 2)
    assert stay >= 1


def test_the_float_trap():
    assert kept(10, 0.9) == 1 and int(10 * (1 - 0.9)) == 0
    assert [kept(16, ratio) for ratio in RATIOS] == [14, 12, 11, 9, 8, 6, 4, 3, 1]


@pytest.mark.parametrize(
    ("ratios", "rounding", "words"),
    [
        (
            (0.5, 0),
            "floor-kept",
            "Expected pruning ratios between 0 and 1, got 0; 0.3 removes 30 %",
        ),
        ((1,), "floor-kept", "Expected pruning ratios between 0 and 1, got 1; "),
        ((-0.1,), "floor-kept", "Expected pruning ratios between 0 and 1, got -0.1; "),
        ((30,), "floor-kept", "Expected pruning ratios between 0 and 1, got 30; "),
        ((), "floor-kept", "Expected at least one pruning ratio, got none; try 0.1,0.5,0.9."),
        ((0.5,), "up", "Expected rounding floor-kept or nearest, got 'up'."),
    ],
)
def test_bad_ratios(ratios, rounding, words):
    with pytest.raises(LesionError) as caught:
        Choices(ratios, rounding=rounding).check()
    assert str(caught.value).startswith(words)


def test_the_default_targets():
    chosen, skipped = targets(BODY)
    assert {target.name for target in chosen if target.kind == "free"} == set(FREE)
    assert [target.name for target in chosen if target.kind == "branch"] == ["conv1"]
    second = {name.replace("conv1", "conv2") for name in FREE}
    assert {skip.target for skip in skipped} == {*second, "fc"}
    reason = next(skip.reason for skip in skipped if skip.target == "layer1.0.conv2")
    assert reason == (
        "falls together with 9 other layers (unit conv1); "
        "--units all measures its part in the sum, and the unit as a whole"
    )


def test_all_targets():
    chosen, skipped = targets(BODY, "all")
    kinds = [target.kind for target in chosen]
    assert (kinds.count("free"), kinds.count("branch"), kinds.count("coupled")) == (9, 10, 1)
    assert skipped == [Skipped("fc", "tied", "its channels are the network's outputs")]


@pytest.mark.parametrize("family", ["resnet20", "mobilenet", "vit"])
def test_every_layer_is_a_target_or_has_a_reason(family):
    """No layer is missing; followers count with the unit that they follow."""
    network, data = networks.FAMILIES[family](2)
    anatomy = dissect(network, lambda net, x: net(x), data.tensors[0]).anatomy
    for units in ("free", "all"):
        chosen, skipped = targets(anatomy, units)
        named = {row.name for row in chosen} | {row.target for row in skipped}
        named |= {
            follower
            for row in chosen
            if row.kind == "free"
            for follower in anatomy.unit[row.name].layers
        }
        assert named == {layer.name for layer in anatomy.layers}
        assert all(skip.reason for skip in skipped)


def test_patterns_choose_layers():
    chosen, skipped = targets(BODY, "free", ["layer2.*.conv1", "conv1"])
    assert [target.name for target in chosen] == ["conv1", *FREE[3:6]]
    assert skipped == []
    with pytest.raises(LesionError, match=r"got 'layer2\.0\.conv3'; did you mean layer2\.0\.conv"):
        targets(BODY, "free", ["layer2.0.conv3"])
    with pytest.raises(LesionError, match=r"got 'zz\*'; lesion layers lists them\.$"):
        targets(BODY, "free", ["conv1", "zz*"])
    with pytest.raises(LesionError, match=r"Expected units free or all, got 'each'; choose"):
        targets(BODY, "each")


def test_the_plan_has_every_ratio_once_and_records_what_is_achieved():
    scores = {Target("layer1.0.conv1", "free"): np.arange(16.0)}
    found, skipped = plan(BODY, scores, (0.5, 0.1, 0.5), Settings(), filters)
    assert [(one.amount, one.pruned, one.channels) for one in found] == [(0.1, 2, 16), (0.5, 8, 16)]
    assert skipped == []


def test_a_ratio_that_removes_nothing_is_a_row_with_a_reason():
    scores = {Target("layer1.0.conv1", "free"): np.arange(16.0)}
    found, skipped = plan(BODY, scores, (0.02, 0.1), Settings(rounding="nearest"), filters)
    assert [one.amount for one in found] == [0.1]
    reason = "2 % of its 16 channels, rounded, is none"
    assert skipped == [Skipped("layer1.0.conv1", "free", reason)]


@given(st.lists(st.integers(0, 3), min_size=16, max_size=16), st.sampled_from(RATIOS))
def test_the_lowest_fall_and_of_equal_ones_the_first(values, ratio):
    fallen = falling(BODY, Target("layer1.0.conv1", "free"), np.array(values, float), ratio,
                     "floor-kept")  # fmt: skip
    order = sorted(range(16), key=lambda place: (values[place], place))
    assert set(np.flatnonzero(fallen)) == set(order[: 16 - kept(16, ratio)])


@given(st.integers(0, 1000), st.sampled_from(RATIOS))
def test_removals_are_nested(seed, ratio):
    """What falls at a ratio falls at every higher one."""
    scores = np.random.default_rng(seed).normal(size=16)
    target = Target("layer1.0.conv1", "free")
    lower = falling(BODY, target, scores, ratio, "floor-kept")
    for higher in (r for r in RATIOS if r > ratio):
        assert falling(BODY, target, scores, higher, "floor-kept")[lower].all()


def test_the_stream_keeps_a_channel_of_every_layer():
    """The 16 channels that the stem writes are the lowest of 64: one of them stays."""
    scores = np.arange(64.0)
    fallen = falling(BODY, Target("conv1", "coupled"), scores, 0.9, "floor-kept")
    assert fallen.sum() == 57 and not fallen[15]
    assert fallen[:15].all()


class Nested(nn.Module):
    """A projection around a block, and a sum of two projections."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(1, 4, 1), nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1)
        self.d, self.e = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 2)

    def forward(self, x):
        x = torch.relu(self.a(x) + self.b(x))
        x = self.c(x) + (torch.relu(self.d(x)) + x)
        return self.e(x.mean((2, 3)))


def test_projections_without_a_body_have_numbers():
    anatomy = layers(Nested(), torch.zeros(2, 1, 4, 4))
    numbers = {layer.name: layer.number for layer in anatomy.layers}
    assert numbers == {"a": 1, "b": 2, "c": None, "d": 3, "e": 4}


class Grouped(nn.Module):
    """A grouped convolution that reads and makes cells."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 8, 1), nn.Conv2d(8, 12, 1, groups=2)
        self.fc = nn.Linear(12, 2)

    def forward(self, x):
        return self.fc(torch.relu(self.b(torch.relu(self.a(x)))).mean((2, 3)))


@pytest.mark.parametrize(("name", "cells"), [("a", (4, 4)), ("b", (6, 6))])
def test_every_group_loses_equally_many_the_lowest_of_each(name, cells):
    anatomy = dissect(Grouped().eval(), lambda net, x: net(x), torch.zeros(2, 1, 4, 4)).anatomy
    scores = np.arange(float(sum(cells)))
    for ratio in RATIOS:
        fallen = falling(anatomy, Target(name, "free"), scores, ratio, "floor-kept")
        start = 0
        for size in cells:
            own = np.flatnonzero(fallen[start : start + size])
            assert own.tolist() == list(range(size - kept(size, ratio)))
            start += size


def test_dropped_marks_the_labels_that_fall_and_no_others():
    lesion = Lesion("layer2.0.conv1", "free", "l1", 0.5, 16, 32)
    gone = dropped(BODY, lesion, -np.arange(32.0))
    unit = BODY.unit["layer2.0.conv1"]
    assert set(np.flatnonzero(gone)) == set(range(unit.first + 16, unit.first + 32))
    branch = Lesion("layer2.0.conv2", "branch", "l1", 0.25, 8, 32)
    own = np.array(BODY.made_by("layer2.0.conv2"))
    assert set(np.flatnonzero(dropped(BODY, branch, np.arange(32.0)))) == set(own[:8])


def test_keys_tell_all_lesions_apart():
    base = {"target": "a", "kind": "free", "criterion": "l1", "amount": 0.1, "pruned": 1,
            "channels": 9}  # fmt: skip
    others = [
        {"target": "b"}, {"kind": "branch"}, {"criterion": "l2"}, {"amount": 0.15},
        {"damage": "bits"}, {"rounding": "nearest"}, {"seed": 1},
    ]  # fmt: skip
    keys = {Lesion(**{**base, **other}).key for other in ({}, *others)}
    assert len(keys) == 8 and "filters/free/a/l1/0.1/floor-kept/0" in keys
