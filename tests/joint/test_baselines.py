"""Uniform rates and a global ranking at the cost of an allocation."""

import numpy as np
import planted
import pytest
import torch
from slicing import shrink
from unequal import subject as small_subject

from lesion.joint.baselines import ranked, uniform, with_baselines
from lesion.joint.bench import bench
from lesion.joint.verifier import Verifier, once
from lesion.network.cost import cost
from lesion.rates.allocate import reading_of
from lesion.rates.budget import Budget
from lesion.rates.recommend import recommend
from lesion.study.aim import Aim
from lesion.sweeps.sweep import sweep

subject = small_subject


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "a.lesion"
    with planted.study(path, images=1000) as made:
        yield made


@pytest.mark.parametrize("left", [0.9, 0.6, 0.35])
def test_uniform_is_the_smallest_common_ratio_that_does(study, left):
    allocation = recommend(study, budget=Budget(macs=left))
    found = uniform(reading_of(study, allocation), allocation)
    free = [rate for rate in found.rates if rate.kind == "free"]
    assert {(rate.channels, rate.pruned) for rate in free} == {
        (size, rate.pruned) for size in (16, 32, 64) for rate in free if rate.channels == size
    }
    assert found.pruned == cost(study.anatomy, found.dropped(study.anatomy))
    assert found.pruned.macs <= allocation.pruned.macs
    smallest = min(rate.rate for rate in free if rate.pruned)
    widest = max(rate.rate for rate in free)
    assert widest - smallest < 1 / 16  # the rounding of one filter
    assert found.pruned.macs > allocation.pruned.macs - 0.03 * allocation.intact.macs


@pytest.mark.parametrize("rival", [uniform, ranked])
def test_what_was_pinned_or_skipped_stays_as_it_is(study, rival):
    budget = Budget(macs=0.7, pins={"layer1.0.conv1": 0.5}, skip=("layer3.*",))
    allocation = recommend(study, budget=budget)
    beside_it = rival(reading_of(study, allocation), allocation)
    own, found = ({rate.unit: rate for rate in one.rates} for one in (allocation, beside_it))
    assert own["layer1.0.conv1"].reason == "the rate that was asked for"
    assert own["layer3.0.conv1"].reason == "stays whole, as asked"
    assert own["layer2.0.conv1"].reason == ""
    asked = [unit for unit in own if unit.startswith("layer3") or unit == "layer1.0.conv1"]
    assert len(asked) > 3 and all(found[unit].kept == own[unit].kept for unit in asked)
    assert found["layer1.0.conv1"].rate == 0.5 and found["layer2.0.conv1"].pruned
    assert beside_it.pruned.macs <= allocation.pruned.macs


@pytest.mark.parametrize("rival", [uniform, ranked])
def test_where_everything_was_asked_for_so_it_stays(study, rival):
    allocation = recommend(study, budget=Budget(macs=1.0, skip=("*",)))
    assert rival(reading_of(study, allocation), allocation).filters == {}


@pytest.mark.parametrize("left", [0.9, 0.6])
def test_the_ranking_takes_the_lowest_of_all(study, left):
    allocation = recommend(study, budget=Budget(macs=left))
    found = ranked(reading_of(study, allocation), allocation)
    assert found.pruned.macs <= allocation.pruned.macs
    kept, fallen = [], []
    for rate in (rate for rate in found.rates if rate.kind == "free"):
        scores = study.scores(rate.unit, "free", "l1")
        relative = scores / scores.mean()
        stays = np.isin(np.arange(rate.channels), rate.kept)
        if rate.pruned < rate.channels - 1:  # one stays whatever it scores
            kept += relative[stays].tolist()
            fallen += relative[~stays].tolist()
    assert max(fallen) <= min(kept)


@pytest.mark.parametrize("seed", [0, 1])
def test_all_are_measured_on_the_same_images(subject, tmp_path, seed):
    network, data = subject
    options = {"ratios": (0.25, 0.5, 0.75), "full": True, "holdout": 0.5, "seed": seed}
    with sweep(*subject, tmp_path / "a", **options) as made:
        allocation = recommend(made, budget=Budget(macs=0.5))
        ready = bench(made, network, data)
        found = with_baselines(reading_of(made, allocation), ready, allocation, made.header.holdout)
        other = uniform(reading_of(made, allocation), allocation)
        check = once(Verifier(made, ready, Aim(5.0)), other)
        assert "nan" not in other.text() + check.text()
        assert "Predicted" in allocation.text() and "Predicted" not in other.text()
        ways = [
            allocation,
            uniform(reading_of(made, allocation), allocation),
            ranked(reading_of(made, allocation), allocation),
        ]
        images, labels = (part[list(made.header.holdout)] for part in data.tensors)
        right = []
        with torch.no_grad():
            for own in ways:
                small = shrink(network, made.anatomy, own.dropped(made.anatomy))
                right.append(float((small(images).argmax(1) == labels).double().mean()))
            whole = float((network(images).argmax(1) == labels).double().mean())
    assert found["drop"].tolist() == pytest.approx([100 * (whole - own) for own in right])
    assert found["worse"].tolist()[1:] == pytest.approx([100 * (right[0] - r) for r in right[1:]])
    assert (found["macs"] <= 0.5).all() and found["worse"].isna().tolist() == [True, False, False]
