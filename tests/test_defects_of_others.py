"""Defects of earlier tools in picking rates, each with the input that broke it.

They are: the first violating ratio returned, the last crossing taken, never returning when the
target is out of reach, one outlier that flattens all other layers, k − 1 of k pruned, layers
dropped silently, a default ratio for layers that were not listed, and one member's ratio that wins
in a coupled group.
"""

import planted
import pytest

from lesion.errors import LesionError
from lesion.lesions.amounts import RATIOS
from lesion.lesions.ratios import kept
from lesion.rates.budget import Budget
from lesion.rates.recommend import recommend

IMAGES = 1000


def made(path, counts, **options):
    return planted.study(path, images=IMAGES, counts=counts, **options)


def rates(allocation):
    return {rate.unit: rate.rate for rate in allocation.cut}


def test_a_lucky_ratio_beyond_a_failing_one_is_not_advised(tmp_path):
    """Drops 0, 0, 50, 0 … of 1000: the last crossing lies at 0.9, the first at 0.2."""
    with made(tmp_path / "a", lambda layer, ratio: (500 if ratio == 0.3 else 0, 0)) as study:
        advice = recommend(study, max_drop=1)
    assert set(advice.rates.values()) == {0.2}


def test_the_advised_ratio_is_the_last_that_holds_and_not_the_first_that_fails(tmp_path):
    with made(tmp_path / "a", lambda layer, ratio: (int(100 * ratio), 0)) as study:
        advice = recommend(study, max_drop=4)
    assert set(advice.rates.values()) == {0.4}


def test_what_is_out_of_reach_returns_and_says_so(tmp_path):
    with (
        made(tmp_path / "a", lambda layer, ratio: (0, 0)) as study,
        pytest.raises(LesionError, match="that is out of reach: the fewest MACs"),
    ):
        recommend(study, budget=Budget(macs=0.01))


def test_one_outlier_changes_no_other_rate(tmp_path):
    """A layer that costs everything at once has rate 0; the others choose as without it."""
    outlier = "layer1.0.conv1"

    def costs(broken):
        return lambda layer, ratio: (
            broken if layer.name == outlier else int(40 * ratio**2), 0
        )  # fmt: skip

    found = []
    for name, broken in (("without", 60), ("with", 900)):
        with made(tmp_path / name, costs(broken)) as study:
            found.append(rates(recommend(study, budget=Budget(macs=0.6, skip=(outlier,)))))
            assert outlier not in rates(recommend(study, budget=Budget(macs=0.6)))
    assert found[0] == found[1]


@pytest.mark.parametrize("ratio", RATIOS)
def test_as_many_channels_fall_as_the_ratio_says(tmp_path, ratio):
    with made(tmp_path / "a", lambda layer, ratio: (0, 0)) as study:
        found = recommend(study, budget=Budget(macs=1.0, pins={"layer*.conv1": ratio}))
    assert {(one.channels, len(one.kept)) for one in found.cut} == {
        (size, kept(size, ratio)) for size in (16, 32, 64)
    }


def test_what_was_not_measured_stays_whole_and_is_told(tmp_path):
    """The residual stream has no curve of its own: it is a row with a reason, and nothing falls."""
    with made(tmp_path / "a", lambda layer, ratio: (0, 0)) as study:
        found = recommend(study, budget=Budget(macs=0.6))
        removable = [unit.name for unit in study.anatomy.units if unit.kind != "tied"]
    assert [rate.unit for rate in found.rates] == removable
    (stream,) = (rate for rate in found.rates if rate.kind == "coupled")
    assert (stream.pruned, stream.reason) == (0, "not measured as a unit")
    assert not {"conv1", "layer1.0.conv2", "fc"} & found.filters.keys()


def test_one_layers_rate_does_not_win_over_its_group(tmp_path):
    with (
        made(tmp_path / "a", lambda layer, ratio: (0, 0)) as study,
        pytest.raises(LesionError, match="Expected one rate for unit conv1"),
    ):
        recommend(study, budget=Budget(macs=0.9, pins={"conv1": 0.5, "layer3.2.conv2": 0.1}))
