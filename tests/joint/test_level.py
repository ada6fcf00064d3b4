"""Rates measured after a recovery: the best of a path to one rate for all, or that one rate."""

import dataclasses

import numpy as np
import planted
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jointly import drops, overheard
from slicing import shrink
from torch.utils.data import TensorDataset
from unequal import subject as small_subject

from lesion.errors import LesionError
from lesion.joint.bench import Bench
from lesion.joint.level import one_rate
from lesion.joint.refine import refine
from lesion.rates.budget import Budget
from lesion.rates.calibration import Calibration
from lesion.rates.recommend import recommend
from lesion.results.curves import curves
from lesion.results.reading import Reading
from lesion.subject.subject import Subject
from lesion.sweeps.sweep import sweep

subject = small_subject
EIGHTHS = tuple(eighths / 8 for eighths in range(1, 8))


@pytest.fixture(scope="module")
def study(subject, tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "a.lesion"
    with sweep(*subject, path, ratios=EIGHTHS, full=True, holdout=0.5) as made:
        yield made


def training(subject):
    """Other images with the network's own answers."""
    network, data = subject
    images = torch.randn(
        256, *data.tensors[0].shape[1:], generator=torch.Generator().manual_seed(5)
    )
    with torch.no_grad():
        return TensorDataset(images, network(images).argmax(1))


def nothing(network, batches):
    """A recovery that leaves everything as it is."""


def bench(subject, study, recovery):
    return Bench.of(study, Subject.of(*subject, train=training(subject)), recovery)


def sliced_macs(subject, study, rate, **fixed):
    """The MACs of the network that keeps ⌊(1 − rate) · 8⌋ channels of each layer, by a hook."""
    anatomy = study.anatomy
    gone = np.zeros(anatomy.channels, bool)
    for unit in anatomy.units:
        if unit.kind == "free":
            own = fixed.get(unit.name, rate)
            first = unit.first
            gone[first : first + unit.channels - int((1 - own) * unit.channels + 1e-9)] = True
    small, macs = shrink(subject[0], anatomy, gone), []

    def count(module, inputs, output):
        macs.append(module.weight.numel() * output[0, 0].numel() if output.dim() == 4
                    else module.weight.numel())  # fmt: skip

    for module in small.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        small(subject[1].tensors[0][:1])
    return sum(macs)


@pytest.mark.parametrize("left", [0.9, 0.7, 0.5, 0.3])
def test_one_rate_is_the_smallest_that_meets_the_budget(subject, study, left):
    budget = Budget(macs=left)
    found = one_rate(Reading.of(study), budget)
    whole = sliced_macs(subject, study, 0)
    smallest = next(e / 8 for e in range(8) if sliced_macs(subject, study, e / 8) <= left * whole)
    assert {rate.rate for rate in found.rates if rate.kind == "free"} == {smallest}
    assert found.pruned.macs == sliced_macs(subject, study, smallest)
    assert np.isnan(found.drop)


def test_one_rate_keeps_to_the_whole_budget(subject, study):
    rates = {
        name: {rate.unit: rate.rate for rate in one_rate(Reading.of(study), budget).cut}
        for name, budget in {
            "params": Budget(macs=0.95, params=0.5), "align": Budget(macs=0.9, align=4),
            "skip": Budget(macs=0.6, skip=("a",)), "pin": Budget(macs=0.6, pins={"a": 0.25}),
        }.items()
    }  # fmt: skip
    loose = {rate.unit: rate.rate for rate in one_rate(Reading.of(study), Budget(macs=0.95)).cut}
    assert rates["params"]["a"] > loose["a"]
    assert rates["align"] == {"a": 0.5, "b": 0.5}
    assert list(rates["skip"]) == ["b"]
    assert rates["pin"]["a"] == 0.25 != rates["pin"]["b"]
    assert one_rate(Reading.of(study), Budget(macs=0.3, max_rate=0.25)) is None


def test_its_filters_fall_by_the_units_scores(tmp_path):
    """Which need not be the norms of the layer's filters, as where its neighbours belong to it."""
    with planted.study(tmp_path / "a", images=1000) as made:
        found = one_rate(Reading.of(made), Budget(macs=0.6))
        for rate in (rate for rate in found.rates if rate.kind == "free"):
            falling = np.argsort(made.scores(rate.unit, "free", "l1"))[: rate.pruned]
            assert set(falling) == set(range(rate.channels)) - set(rate.kept)


@settings(deadline=None, max_examples=60)
@given(
    macs=st.floats(0.05, 1), params=st.none() | st.floats(0.05, 1),
    align=st.sampled_from((1, 2, 4)), least=st.integers(1, 9),
    skip=st.sampled_from(((), ("a",), ("b",))),
)  # fmt: skip
def test_of_all_that_meet_any_budget_it_is_the_first(study, macs, params, align, least, skip):
    """One after the other: of eight channels ⌊(1 − rate) · 8⌋ stay, or the next multiple."""
    budget = Budget(macs, params, align=align, least=least, skip=skip)
    found = one_rate(Reading.of(study), budget)
    for eighths in range(8):
        stay = next((n for n in range(8 - eighths, 8) if n >= least and n % align == 0), 8)
        pins = {unit: 0.0 if unit in skip else 1 - stay / 8 for unit in ("a", "b")}
        one = recommend(study, budget=Budget(macs=1.0, pins=pins))
        if one.pruned.macs <= macs * one.intact.macs + 1e-6 and (
            params is None or one.pruned.parameters <= params * one.intact.parameters + 1e-6
        ):
            assert [rate.kept for rate in found.rates] == [rate.kept for rate in one.rates]
            return
    assert found is None


def test_without_any_recovery_it_is_the_best_by_brute_force(subject, study):
    """A user's recovery that does nothing: so slicing by hand tells what each set loses."""
    budget, used = Budget(macs=0.6), study.header.order
    found = refine(study, bench(subject, study, nothing), recommend(study, budget=budget), budget)
    even = one_rate(Reading.of(study), budget)
    tried = [even]
    for most in EIGHTHS:
        try:
            tried.append(recommend(study, budget=dataclasses.replace(budget, max_rate=most)))
        except LesionError:
            continue
    lost = [drops(subject, study, one, used) for one in tried]
    best = min(lost, key=np.mean)
    gained = lost[0] - best
    assert gained.mean() > gained.std() / np.sqrt(len(gained)), "the case tells nothing"
    assert found.drop == pytest.approx(best.mean())
    assert found.drop == pytest.approx(drops(subject, study, found, used).mean())
    assert found.pruned.macs <= 0.6 * found.intact.macs
    assert found.high > found.drop
    assert found.measured and f"after recovery by {__name__}:nothing" in found.guarantee


def test_one_rate_stays_unless_others_are_ahead(subject, study):
    """Where a recovery leaves nothing of a network, all sets are equally good."""

    def ruin(network, batches):
        for weight in network.parameters():
            weight.data.zero_()

    budget = Budget(macs=0.6)
    own = recommend(study, budget=budget)
    found = refine(study, bench(subject, study, ruin), own, budget, images=50)
    assert len({rate.rate for rate in found.cut}) == 1
    assert "one rate for all units" in found.goal


@pytest.mark.parametrize(("again", "taken"), [(0.9, True), (0.62, True), (0.56, False), (0, False)])
def test_the_best_has_to_be_ahead_once_more(subject, study, monkeypatch, again, taken):
    """One rate for all is right on 60 %, all else on 65 %, with another seed on a share `again`.

    5 points with one seed and 2 or −4 with the other are 3.5 or 0.5 ± 1 in the mean, of 200 images.
    """
    budget = Budget(macs=0.6)
    own = recommend(study, budget=budget)
    even = one_rate(Reading.of(study), budget).dropped(study.anatomy)

    def outcomes(self, cuts, images, intact):
        ((joint, gone),) = cuts.items()
        part = 0.6 if np.array_equal(gone, even) else (0.65, again)[joint.seed]
        return {joint: {"top1": np.arange(len(images)) < part * len(images)}}

    recovered = bench(subject, study, nothing)
    monkeypatch.setattr(Bench, "outcomes", outcomes)
    found = refine(study, recovered, own, budget)
    assert ("one rate for all units" not in found.goal) == taken


def test_those_kept_back_are_not_touched(subject, study, monkeypatch):
    seen, _ = overheard(monkeypatch)
    budget = Budget(macs=0.5)
    refine(
        study, bench(subject, study, nothing), recommend(study, budget=budget), budget, images=70
    )
    assert seen == set(study.header.order[:70])


def test_rates_by_lesions_that_recovered(subject, tmp_path):
    """Their accuracies multiply; what was learned of cuts without recovery does not count."""
    network, data = subject
    options = {"ratios": EIGHTHS, "full": True, "holdout": 0.5}
    sweep(network, data, tmp_path / "a", **options).close()
    train = training(subject)
    with sweep(network, data, tmp_path / "a", recover="bn", train=train, **options) as made:
        found = recommend(made, budget=Budget(macs=0.5), after="bn")
        made.set_calibration(Calibration((1.0,) * 59, (9.0,) * 59, 95.0, 200, "drops").to_json())
        assert recommend(made, budget=Budget(macs=0.5), after="bn") == found
        learned = recommend(made, budget=Budget(macs=0.5), by="drops")
        frame = curves(made)
    assert "random rates" in learned.guarantee
    assert "each after recovery by bn" in found.guarantee
    own = frame[(frame["recovery"] == "bn") & (frame["kind"] == "free")]
    left = 1.0
    for rate in found.cut:
        (row,) = own[(own["unit"] == rate.unit) & (own["pruned"] == rate.pruned)].itertuples()
        assert (rate.drop, rate.high) == (row.drop, row.high)
        left *= 1 - row.drop / row.baseline
    assert found.drop == pytest.approx(found.baseline * (1 - left))


def test_rates_by_lesions_without_recovery_are_tried_as_well(subject, tmp_path, monkeypatch):
    network, data = subject
    train, budget, way = training(subject), Budget(macs=0.5), "reconstruct"
    options = {"ratios": EIGHTHS, "full": True, "holdout": 0.5}
    sweep(network, data, tmp_path / "a", **options).close()
    with sweep(network, data, tmp_path / "a", recover=way, train=train, **options) as made:
        own, plain = (recommend(made, budget=budget, after=after) for after in (way, ""))
        assert own.filters != plain.filters, "the case tells nothing"
        _, tried = overheard(monkeypatch)
        refine(made, bench(subject, made, nothing), own, budget, after=way)
        assert {one.dropped(made.anatomy).tobytes() for one in (own, plain)} <= tried


def test_a_study_may_hold_recovered_lesions_alone(subject, tmp_path):
    network, data = subject
    train, budget = training(subject), Budget(macs=0.5)
    options = {"ratios": EIGHTHS, "full": True, "holdout": 0.5, "recover": "bn", "train": train}
    with sweep(network, data, tmp_path / "a", **options) as made:
        own = recommend(made, budget=budget, after="bn")
        found = refine(made, bench(subject, made, "bn"), own, budget, after="bn")
        even = one_rate(Reading.of(made, recovery="bn"), budget)
    assert found.pruned.macs <= 0.5 * found.intact.macs
    assert len({rate.rate for rate in even.cut}) == 1


def test_lesions_that_recovered_need_a_recovery_to_refine_by(subject, study):
    budget = Budget(macs=0.5)
    rates = recommend(study, budget=budget)
    with pytest.raises(LesionError, match=r"Expected a bench with a recovery, since .* by bn are"):
        refine(study, Bench.of(study, Subject.of(*subject)), rates, budget, after="bn")


def test_the_least_names_no_share(subject, study):
    budget = Budget(macs="least", max_drop=2)
    with pytest.raises(LesionError, match="Expected a share that may remain for rates that are"):
        refine(study, bench(subject, study, nothing), recommend(study, budget=budget), budget)
