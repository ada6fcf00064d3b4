"""Rates within a budget, from studies whose drops are known."""

from dataclasses import replace

import numpy as np
import planted
import pytest

from lesion.errors import EvidenceError, LesionError, StudyError
from lesion.network.cost import cost
from lesion.rates.allocate import by_stage
from lesion.rates.allocation import Allocation
from lesion.rates.budget import Budget
from lesion.rates.recommend import recommend
from lesion.results.reading import Reading

RATIOS = (0.25, 0.5, 0.75)
FLAT = "layer3.1.conv1"  # costs nothing whatever its ratio


def counts(layer, ratio):
    """Broken and repaired of 1000 images: more in earlier stages, none in one layer."""
    return (0, 0) if layer.name == FLAT else (int(100 * ratio**2 / max(layer.stage, 1)), 0)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "a.lesion"
    with planted.study(path, images=1000, counts=counts, ratios=RATIOS) as made:
        yield made


def rates(allocation):
    return {rate.unit: rate.rate for rate in allocation.cut}


def test_what_costs_nothing_goes_first(study):
    found = recommend(study, budget=Budget(macs=0.97))
    assert list(rates(found)) == [FLAT]
    assert found.pruned.macs <= 0.97 * found.intact.macs
    assert found.drop == pytest.approx(
        found.baseline * (1 - np.prod([1 - r.drop / found.baseline for r in found.cut]))
    )


@pytest.mark.parametrize("left", [0.9, 0.7, 0.5])
def test_the_costs_are_those_of_the_shrunk_network(study, left):
    found = recommend(study, budget=Budget(macs=left, params=0.95))
    assert found.pruned == cost(study.anatomy, found.dropped(study.anatomy))
    assert found.pruned.macs <= left * found.intact.macs
    assert found.pruned.parameters <= 0.95 * found.intact.parameters


def test_more_room_costs_less(study):
    highs = [recommend(study, budget=Budget(macs=left)).high for left in (0.5, 0.6, 0.7, 0.8, 0.9)]
    assert highs == sorted(highs, reverse=True)


def test_the_least_within_a_drop_is_the_dual(study):
    most = recommend(study, budget=Budget(macs=0.6))
    dual = recommend(study, budget=Budget(macs="least", max_drop=most.high + 1e-9))
    assert dual.pruned.macs <= most.pruned.macs and dual.high <= most.high + 1e-9


def test_a_stage_has_one_rate_which_its_layers_take_or_skip(study):
    found = recommend(study, budget=Budget(macs=0.7, per="stage"))
    for stage in (1, 2, 3):
        own = {rate.rate for rate in found.cut if rate.stage == stage}
        assert len(own) <= 1
    free = recommend(study, budget=Budget(macs=0.7))
    assert free.high <= found.high


@pytest.mark.parametrize("align", [4, 8, 16])
def test_channels_stay_in_multiples(study, align):
    found = recommend(study, budget=Budget(macs=0.8, align=align))
    assert found.cut
    assert all(len(rate.kept) % align == 0 for rate in found.cut)
    for rate in found.cut:  # what was measured covers what falls
        assert rate.measured >= rate.rate


def test_pins_and_skips_hold(study):
    budget = Budget(macs=0.8, pins={"layer1.0.conv1": 0.5}, skip=("layer3.*",), least=6)
    found = rates(recommend(study, budget=budget))
    assert found["layer1.0.conv1"] == 0.5
    assert not any(name.startswith("layer3") for name in found)
    assert all(len(rate.kept) >= 6 for rate in recommend(study, budget=budget).cut)


def test_out_of_reach_names_the_nearest(study):
    with pytest.raises(
        LesionError, match=r"out of reach: the fewest MACs .* leave are (\d+\.\d+) %"
    ):
        recommend(study, budget=Budget(macs=0.05))
    with pytest.raises(LesionError, match="out of reach"):
        recommend(study, budget=Budget(macs=0.5, max_drop=0.1))


def test_the_nearest_can_be_reached(study):
    with pytest.raises(LesionError) as error:
        recommend(study, budget=Budget(macs=0.05))
    nearest = float(str(error.value).partition("leave are ")[2].partition(" %")[0])
    found = recommend(study, budget=Budget(macs=nearest / 100))
    assert found.pruned.macs <= nearest / 100 * found.intact.macs


def test_no_rate_is_above_the_highest_but_those_that_are_pinned(study, tmp_path):
    budget = Budget(macs=0.8, max_rate=0.3)
    found = recommend(study, budget=budget)
    assert max(rates(found).values()) <= 5 / 16  # 0.3 of 16 channels
    assert max(rates(recommend(study, budget=Budget(macs=0.8))).values()) > 0.5
    pinned = recommend(study, budget=replace(budget, pins={"layer1.0.conv1": 0.5}))
    assert rates(pinned)["layer1.0.conv1"] == 0.5 == max(rates(pinned).values())
    assert "no rate above 30 %" in found.goal
    with pytest.raises(LesionError, match="the fewest MACs that the study's ratios leave"):
        recommend(study, budget=Budget(macs=0.5, max_rate=0.2))


def test_what_the_study_does_not_hold(study, tmp_path):
    with pytest.raises(EvidenceError, match="Expected a curve of conv1, which is to have"):
        recommend(study, budget=Budget(macs=0.9, pins={"layer1.0.conv2": 0.5}))
    with pytest.raises(EvidenceError, match=r"reaches rate 0.9 .* measure that ratio"):
        recommend(study, budget=Budget(macs=0.9, pins={"layer1.0.conv1": 0.9}))
    with pytest.raises(LesionError, match="Expected channels aligned to 64 or fewer"):
        recommend(study, budget=Budget(macs=0.9, align=128))
    with pytest.raises(LesionError, match="Expected a table of times for a budget of latency"):
        recommend(study, budget=Budget(latency=0.9))


def test_the_stages_rates_become_an_allocation(study):
    advice = recommend(study, 2)
    found = by_stage(Reading.of(study), advice)
    wanted = {one.layer: one.stage_rate for one in advice.layers if one.stage_rate}
    assert rates(found) == wanted


def test_saved_and_read_again(study, tmp_path):
    found = recommend(study, budget=Budget(macs=0.7))
    found.save(tmp_path / "rates.json")
    assert Allocation.load(tmp_path / "rates.json") == found
    found.check(study.header.subject)
    with pytest.raises(StudyError, match="they are another's: weights"):
        found.check({**study.header.subject, "weights": "other"})


def test_a_layer_of_two_units_keeps_what_both_leave(study):
    """As a depthwise layer behind a concatenation, whose filters follow two units."""
    found = recommend(study, budget=Budget(macs=0.7))
    one, two, *_ = found.cut
    shared = [replace(one, filters={"both": (0, 1, 2)}), replace(two, filters={"both": (1, 2, 3)})]
    assert replace(found, rates=tuple(shared)).filters == {"both": (1, 2)}


@pytest.mark.parametrize(
    ("content", "text"),
    [("nonsense", "cannot be read"), ("[]", "got a list"), ("{}", "Expected rates as"),
     ('{"lesion": "allocation", "format": 1}', "lack something")],
)  # fmt: skip
def test_files_that_hold_no_rates(tmp_path, content, text):
    path = tmp_path / "rates.json"
    path.write_text(content)
    with pytest.raises(LesionError, match=text):
        Allocation.load(path)


def test_where_all_is_lost_retraining_decides(tmp_path):
    """Each layer alone loses 40 points for each unit of its ratio."""
    options = {"images": 1000, "ratios": RATIOS}
    with planted.study(tmp_path / "a", counts=lambda _, r: (int(400 * r), 0), **options) as made:
        ruined, light = (recommend(made, budget=Budget(macs=left)) for left in (0.5, 0.97))
    assert ruined.drop > 30 > light.drop
    assert "lesion refine --recover" in ruined.guarantee
    assert "compare with one rate" not in light.guarantee
