"""Rates improved by measuring: never worse where they were measured, within the budget."""

import numpy as np
import pytest
import torch
from jointly import drops, overheard
from torch.utils.data import TensorDataset
from unequal import subject as small_subject

from lesion.errors import LesionError
from lesion.joint.bench import Bench
from lesion.joint.level import levelled, one_rate
from lesion.joint.refine import refine, refined
from lesion.lesions.lesion import Joint
from lesion.rates.allocation import Allocation
from lesion.rates.budget import Budget
from lesion.rates.latency import LayerTime, Times
from lesion.rates.recommend import recommend
from lesion.results.reading import Reading
from lesion.subject.subject import Subject
from lesion.sweeps.sweep import sweep

subject = small_subject
RATIOS = tuple(eighths / 8 for eighths in range(1, 8))


@pytest.fixture
def study(subject, tmp_path):
    with sweep(*subject, tmp_path / "a.lesion", ratios=RATIOS, full=True, holdout=0.5) as made:
        yield made


@pytest.fixture
def bench(subject, study):
    return Bench.of(study, Subject.of(*subject))


@pytest.mark.parametrize("left", [0.8, 0.5, 0.3])
def test_it_measures_no_worse_within_the_budget(subject, study, bench, left):
    budget = Budget(macs=left)
    before = recommend(study, budget=budget)
    after = refine(study, bench, before, budget)
    used = study.header.order
    assert after.drop == pytest.approx(drops(subject, study, after, used).mean())
    assert after.drop <= drops(subject, study, before, used).mean() + 1e-9
    assert after.pruned.macs <= left * after.intact.macs
    assert after.high >= after.drop
    assert "chosen" in after.guarantee
    assert "Measured drop of all together" in after.text()
    assert "Predicted drop of all together" in before.text()
    assert Allocation.from_dict(after.to_dict()) == after


def test_no_single_step_within_the_budget_is_better(subject, study, bench):
    """At the end of enough rounds; a step of one unit down and another up may still be."""
    budget = Budget(macs=0.5)
    after = refine(study, bench, recommend(study, budget=budget), budget, rounds=20)
    at = {rate.unit: rate.rate for rate in after.rates}
    for unit, rate in at.items():
        for step in (-1 / 8, 1 / 8):
            if 0 <= rate + step < 1:
                pins = {**at, unit: rate + step}
                other = recommend(study, budget=Budget(macs=1.0, pins=pins))
                if other.pruned.macs <= 0.5 * other.intact.macs:
                    used = study.header.order
                    assert drops(subject, study, other, used).mean() >= after.drop - 1e-9


def test_a_stage_keeps_its_common_rate(study, bench):
    budget = Budget(macs=0.7, per="stage")
    after = refine(study, bench, recommend(study, budget=budget), budget)
    assert len({rate.rate for rate in after.cut}) <= 1


def test_layers_that_skip_their_stages_rate_keep_skipping_it(study, bench):
    budget = Budget(macs=0.7, per="stage")
    before = recommend(study, budget=Budget(macs=0.7, per="stage", skip=("b",)))
    after = refine(study, bench, before, budget)
    assert [rate.unit for rate in after.cut] == ["a"] == [rate.unit for rate in before.cut]


def test_the_least_cannot_be_refined(study, bench):
    budget = Budget(macs="least", max_drop=2)
    with pytest.raises(LesionError, match="Expected a share that may remain for rates that are"):
        refine(study, bench, recommend(study, budget=budget), budget)


def test_a_budget_of_latency_is_kept_and_said(study, bench):
    """Each layer takes a millisecond for each pair of channels that it reads and makes."""
    laws = [LayerTime(name, (0.0, 0.0, 0.0, 1.0), 0.1) for name in ("a", "b", "fc")]
    times, budget = Times("cpu", 1, 32, 100.0, tuple(laws), miss=0.05), Budget(latency=0.6)
    before = recommend(study, budget=budget, times=times)
    for found in (before, refine(study, bench, before, budget, times=times)):
        kept = {rate.unit: len(rate.kept) for rate in found.rates}
        reads = study.anatomy.unit["a"].channels
        whole, pruned = (
            layer_reads * a + a * b + b * 3
            for layer_reads, a, b in ((1, reads, reads), (1, kept["a"], kept["b"]))
        )
        assert found.milliseconds == pytest.approx((whole, pruned, 0.05 * pruned))
        assert pruned <= 0.6 * whole
        assert "ms, predicted" in found.text()


def test_those_kept_back_are_not_touched(study, bench, monkeypatch):
    seen, _ = overheard(monkeypatch)
    budget = Budget(macs=0.5)
    refine(study, bench, recommend(study, budget=budget), budget, images=100)
    assert seen == set(study.header.order[:100])
    assert not seen & set(study.header.holdout)


def mended(subject, study, recovery="reconstruct"):
    """A bench whose networks are mended by other images than those scored."""
    network, data = subject
    numbers = torch.Generator().manual_seed(7)
    images = torch.randn(400, *data.tensors[0].shape[1:], generator=numbers)
    train = TensorDataset(images, torch.zeros(400, dtype=torch.long))
    return Bench.of(study, Subject.of(network, data, train=train), recovery)


def losses(study, bench, rates, images):
    """The mean of log(1 + exp(-margin)) with rates after the bench's recovery."""
    intact = bench.intact(images)
    joint = Joint(tuple(rate.unit for rate in rates.cut), 99)
    (outcomes,) = bench.outcomes({joint: rates.dropped(study.anatomy)}, images, intact).values()
    return np.log1p(np.exp(-outcomes["margin"].astype(float))).mean(), outcomes["top1"]


@pytest.mark.parametrize("left", [0.6, 0.35])
def test_after_a_mend_no_rates_nearby_lose_less(subject, study, left):
    """Than those that are best of few; in steps of a sixteenth, which were not measured alone."""
    budget, used = Budget(macs=left), study.header.order
    ready, before = mended(subject, study), recommend(study, budget=budget)
    level = levelled(Reading.of(study), ready, before, budget)
    after = refine(study, ready, before, budget)
    loss, right = losses(study, ready, after, used)
    assert loss <= losses(study, ready, level, used)[0] + 1e-9
    assert after.drop == pytest.approx(
        100 * (study.intact().outcomes["top1"].mean() - right.mean())
    )
    assert after.pruned.macs <= left * after.intact.macs
    assert "after recovery by reconstruct on 300 images" in after.guarantee
    assert "`lesion verify --recover`" in after.guarantee


def test_one_rate_for_all_is_a_start(subject, study):
    """Its ratio need not be one that was measured."""
    budget, ready, used = Budget(macs=0.55), mended(subject, study), study.header.order
    even = one_rate(Reading.of(study), budget)
    after = refined(Reading.of(study), ready, even, budget)
    assert losses(study, ready, after, used)[0] < losses(study, ready, even, used)[0]
    assert after.pruned.macs <= 0.55 * after.intact.macs


@pytest.mark.parametrize("recovery", ["bias", "reconstruct"])
def test_rates_move_on_where_least_squares_make_that_cheap(subject, study, recovery):
    """Elsewhere they are the best of a few."""
    budget, ready = Budget(macs=0.5), mended(subject, study, recovery)
    after = refine(study, ready, recommend(study, budget=budget), budget, images=100)
    assert ("sets of rates" in after.guarantee) == (recovery == "bias")
