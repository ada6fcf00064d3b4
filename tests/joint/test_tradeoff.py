"""Accuracy against cost, all ways on the same images."""

import pytest
from unequal import subject as small_subject

from lesion.errors import LesionError
from lesion.joint.baselines import with_baselines
from lesion.joint.bench import bench
from lesion.joint.tradeoff import tradeoff
from lesion.rates.budget import Budget
from lesion.rates.recommend import recommend
from lesion.results.reading import Reading
from lesion.sweeps.sweep import sweep

subject = small_subject


@pytest.fixture
def study(subject, tmp_path):
    ratios = (0.25, 0.5, 0.75)
    with sweep(*subject, tmp_path / "a.lesion", ratios=ratios, full=True, holdout=0.5) as made:
        yield made


def test_each_budget_in_reach_is_a_point_of_each_way(subject, study):
    own = bench(study, *subject)
    found = tradeoff(study, own, (0.8, 0.5, 0.01), rounds=0)
    assert found["way"].value_counts().to_dict() == {"lesion": 3, "uniform": 2, "global l1": 2}
    whole = found[found["macs"] == 1].iloc[0]
    expected = with_baselines(
        Reading.of(study), own, recommend(study, budget=Budget(macs=0.5)), study.header.holdout
    )
    point = found[(found["way"] == "uniform")].iloc[1]
    assert point["accuracy"] == pytest.approx(whole["accuracy"] - expected["drop"][1])
    assert point["low"] == pytest.approx(whole["accuracy"] - expected["high"][1])
    assert not found["tuned"].any()


def test_after_recovery_as_well(subject, study):
    network, data = subject
    own = bench(study, network, data)
    recovered = bench(study, network, data, recover=lambda network, batches: None, train=others())
    found = tradeoff(study, own, (0.5,), rounds=0, recovered=recovered)
    once, again = (found[(found["tuned"] == tuned) & (found["macs"] < 1)] for tuned in (0, 1))
    assert once["accuracy"].tolist() == pytest.approx(again["accuracy"].tolist())


def test_rates_after_recovery_are_found_for_it(subject, study):
    """Nothing is left of the network after it, so that one rate for all stays."""

    def ruin(network, batches):
        for weight in network.parameters():
            weight.data.zero_()

    network, data = subject
    recovered = bench(study, network, data, recover=ruin, train=others())
    found = tradeoff(study, bench(study, network, data), (0.5,), rounds=1, recovered=recovered)
    after = found[found["tuned"]].set_index("way")
    assert after["macs"]["lesion"] == after["macs"]["uniform"]
    assert after["accuracy"]["lesion"] == after["accuracy"]["uniform"]


def others():
    """Training images that are none of those scored."""
    import torch

    images = torch.randn(200, 1, 8, 8, generator=torch.Generator().manual_seed(9))
    return torch.utils.data.TensorDataset(images, torch.zeros(200, dtype=torch.long))


def test_nothing_in_reach(subject, study):
    with pytest.raises(LesionError, match="Expected a share of the MACs within reach"):
        tradeoff(study, bench(study, *subject), (0.01,))
