"""What layers' weights may become beside units: choices, their costs, and the best of them."""

import itertools

import networks
import numpy as np
import pytest
from torch.utils.data import TensorDataset
from unequal import subject as small_subject

from lesion.compression.footprint import Footprint
from lesion.errors import EvidenceError, LesionError
from lesion.rates import costs
from lesion.rates.allocate import choices_of
from lesion.rates.allocation import Allocation
from lesion.rates.budget import Budget
from lesion.rates.candidates import dropped
from lesion.rates.layer_options import (
    compressed,
    layer_options,
    stored,
    weight_readings,
    weights_of,
)
from lesion.rates.prediction import losses
from lesion.rates.recommend import choosing, recommend
from lesion.sweeps.sweep import sweep

subject = small_subject
HALF = Budget(bytes=0.5, bops=0.5)


@pytest.fixture(scope="module")
def study(subject, tmp_path_factory):
    path = tmp_path_factory.mktemp("mixed") / "a.lesion"
    common = {"images": 300, "full": True, "holdout": 0.25}
    for damage, amounts in (("quantise", (8, 3)), ("low_rank", (0.5,)), ("sparsity", (0.35, 0.7))):
        sweep(*subject, path, damage=damage, ratios=amounts, **common).close()
    with sweep(*subject, path, ratios=(0.25, 0.5, 0.75), **common) as made:
        yield made


def every(choices):
    """All ways to choose."""
    for places in itertools.product(*(range(len(some)) for some in choices.values())):
        yield dict(zip(choices, places, strict=True))


def taking(choices, choice):
    return {name: choices[name][at] for name, at in choice.items()}


def counted(study, reading, choices, choice) -> Footprint:
    """What a choice costs, layer by layer."""
    picked = taking(choices, choice)
    weights = compressed(weight_readings(reading), picked)
    return stored(study.anatomy, dropped(study.anatomy, picked), weights)


def test_nothing_first_then_what_saves_more(study):
    reading = choosing(study)
    assert {other.damage for other in reading.others} == {"quantise", "low_rank", "sparsity"}
    choices = layer_options(weight_readings(reading), HALF)
    assert set(choices) == {weights_of(name) for name in study.anatomy.layer}
    for name, (none, *options) in choices.items():
        layer = study.anatomy.layer[name.removeprefix("weights of ")]
        assert none.lesion is None and none.order == 0
        assert [option.order for option in options] == list(range(1, len(options) + 1))
        bits = [costs.left(layer, option).bits for option in options]
        assert bits == sorted(bits, reverse=True) and len(options) == 5


def test_what_saves_none_of_what_is_bounded_is_no_choice(study):
    macs = layer_options(weight_readings(choosing(study)), Budget(macs=0.5))
    kinds = {option.lesion.damage for some in macs.values() for option in some[1:]}
    assert kinds == {"low_rank"}  # few bits and zeros cost dense kernels what they did
    with pytest.raises(EvidenceError, match=r"save MACs.*quantise.*--bytes 25%"):
        recommend(study, damage="quantise", budget=Budget(macs=0.5))


def test_layers_that_are_skipped_have_none(study):
    budget = Budget(bytes=0.5, skip=["b"])
    assert weights_of("b") not in layer_options(weight_readings(choosing(study)), budget)


@pytest.mark.parametrize("resource", ["bytes", "bops", "macs"])
def test_accounts_and_what_is_rounded_are_the_costs_of_the_layers(study, resource):
    reading = choosing(study)
    choices = choices_of(reading, Budget(**{resource: 0.5}))
    account = {"bytes": costs.bits, "bops": costs.bit_operations, "macs": costs.macs}[resource]
    account = account(study.anatomy, choices)
    either = costs.either(study.anatomy, choices)
    rng, ways = np.random.default_rng(0), list(every(choices))
    apart = [way for way in ways if either.at(way) == 1]
    assert 0 < len(apart) < len(ways)
    for choice in rng.choice(apart, 60):
        cost = counted(study, reading, choices, choice)
        exact = account.at(choice) + costs.rounding(study.anatomy, choices, choice, resource)
        wanted = {"bytes": cost.bits, "bops": cost.bops, "macs": cost.dense_macs}[resource]
        assert exact == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("budget", [Budget(bytes=0.3), HALF, Budget(bops=0.15), Budget(macs=0.4)])
def test_it_is_the_best_of_all_choices_that_are_within(study, budget):
    reading = choosing(study)
    choices, made = choices_of(reading, budget), recommend(study, budget=budget, by="drops")
    whole = stored(study.anatomy, np.zeros(study.anatomy.channels, bool))
    either = costs.either(study.anatomy, choices)
    names = {"bytes": "bits", "bops": "bops", "macs": "dense_macs"}

    def within(cost):
        return all(
            getattr(cost, names[name]) <= share * getattr(whole, names[name]) + 1e-6
            for name, share in budget.shares.items()
        )

    def lost(choice):
        highs = [each.high for each in taking(choices, choice).values()]
        return losses(highs, reading.baseline).sum()

    allowed = [
        way
        for way in every(choices)
        if either.at(way) == 1 and within(counted(study, reading, choices, way))
    ]
    least = min(map(lost, allowed))
    gone = made.dropped(study.anatomy)
    assert within(stored(study.anatomy, gone, made.weights))
    chosen = [rate.high for rate in made.cut] + [each.high for each in made.weights]
    assert losses(chosen, reading.baseline).sum() == pytest.approx(least, abs=1e-6)
    pruned = {rate.unit for rate in made.cut}
    assert not pruned & {study.anatomy.layer[each.layer].unit for each in made.weights}


def test_margins_are_no_worse_by_what_they_predict(study):
    by = {way: recommend(study, budget=HALF, by=way) for way in ("margins", "drops")}
    whole, left = by["margins"].footprints
    assert left.bits <= 0.5 * whole.bits and left.bops <= 0.5 * whole.bops
    assert by["margins"].drop == by["margins"].drop  # predicted


def test_what_is_written_is_read(study, tmp_path):
    made = recommend(study, budget=Budget(bytes=0.3))
    made.save(tmp_path / "rates.json")
    assert Allocation.load(tmp_path / "rates.json") == made
    assert made.to_dict()["format"] == 2
    alone = recommend(study, damage="filters", budget=Budget(macs=0.5))
    assert alone.to_dict()["format"] == 1 and not alone.weights
    table = made.table()
    weights = table[table["kind"] == "weights"]
    assert weights["unit"].tolist() == [each.layer for each in made.weights]
    assert len(table) == len(made.rates) + len(made.weights)
    text = made.text()
    assert "stored bytes: " in text and all(
        f"  {each.layer}: {each.damage}, " in text for each in made.weights
    )


def test_one_damage_alone(study):
    made = recommend(study, damage="quantise", budget=Budget(bytes=0.3))
    assert not made.cut and {each.damage for each in made.weights} == {"quantise"}
    both = recommend(study, damage="quantise,low_rank", budget=Budget(bytes=0.3))
    assert {each.damage for each in both.weights} <= {"quantise", "low_rank"}
    with pytest.raises(EvidenceError, match="kinds of damage"):
        recommend(study, damage="filters,n_m", budget=HALF)


def test_what_takes_filters_alone_says_so(study):
    from lesion.exports.export import export

    made = recommend(study, budget=Budget(bytes=0.3))
    with pytest.raises(LesionError, match=r"nni, which takes filters.*--damage filters"):
        export(made, "nni")
    assert "weights" in export(made, "json")
    page = export(made, "markdown")
    assert all(f"| {each.layer} | {each.damage} | {each.words} |" in page for each in made.weights)


def test_the_study_of_a_chain_with_a_flattened_linear_layer(tmp_path):
    network, data = networks.plain(64)
    path = tmp_path / "flat.lesion"
    for damage in ("filters", "quantise"):
        sweep(network, TensorDataset(*data.tensors), path, damage=damage, full=True).close()
    from lesion.study.study import Study

    with Study.open(path) as made:
        rates = recommend(made, budget=Budget(bytes=0.2))
        assert rates.footprints[1].bits <= 0.2 * rates.footprints[0].bits


def test_deleted_blocks_are_none_of_them(tmp_path):
    network, data = networks.resnet8(48)
    path = tmp_path / "blocks.lesion"
    made = sweep(network, data, path, damage="delete_block", full=True)
    with made, pytest.raises(LesionError, match=r"lesions that prune filters.*delete_block"):
        recommend(made, budget=Budget(bytes=0.5))
    sweep(network, data, path, damage="quantise", ratios=(4,), full=True).close()
    from lesion.study.study import Study

    with Study.open(path) as made:
        rates = recommend(made, budget=Budget(bytes=0.5))
        assert {each.damage for each in rates.weights} == {"quantise"}
