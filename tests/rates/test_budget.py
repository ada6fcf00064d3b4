"""What may be asked of rates, and how it is said."""

import planted
import pytest

from lesion.errors import LesionError
from lesion.rates.budget import Budget, fixed, share

ANATOMY = planted.anatomy(20)


@pytest.mark.parametrize(
    ("budget", "text"),
    [
        (Budget(), "Expected a budget, got none"),
        (Budget(macs=0), "above 0 and up to 100 %, got 0 %"),
        (Budget(macs=1.5), "got 150 %"),
        (Budget(macs=50), r"up to 100 %, got 5000 %; 50 % is 0\.5\.$"),
        (Budget(params=2000), r"got 2e\+05 %\.$"),
        (Budget(macs="least"), "Expected a bound beside the least MACs"),
        (Budget(macs="least", params="least"), "Expected one resource to be least, got several"),
        (Budget(macs=0.5, max_drop=-1), "Expected a joint drop in points"),
        (Budget(macs=0.5, per="filter"), "Expected rates per unit, layer, stage, got 'filter'"),
        (Budget(macs=0.5, align=0), "Expected channels to keep of at least one, got 0"),
        (Budget(macs=0.5, pins={"conv1": 1.0}), "Expected a rate from 0 to below 1 for conv1"),
    ],
)
def test_what_cannot_be_asked(budget, text):
    with pytest.raises(LesionError, match=text):
        budget.check()


@pytest.mark.parametrize("text", ["", "half", "-5%", "50 per cent", "1e3"])
def test_shares_that_are_none(text):
    with pytest.raises(LesionError, match="Expected a share such as 50%"):
        share(text)


def test_patterns_pin_and_skip_units():
    budget = Budget(macs=0.5, pins={"layer1.*.conv1": 0.3}, skip=("layer2.0.conv1",))
    assert fixed(ANATOMY, budget) == {
        "layer1.0.conv1": 0.3, "layer1.1.conv1": 0.3, "layer1.2.conv1": 0.3, "layer2.0.conv1": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"pins": {"nothing*": 0.3}}, "Expected the pattern of a layer, got 'nothing\\*'"),
        ({"skip": ("nothing",)}, "Expected the pattern of a layer, got 'nothing'"),
        (
            {"pins": {"layer1.0.conv1": 0.3, "layer1.*.conv1": 0.5}},
            "Expected one rate for unit layer1.0.conv1, but layer1.0.conv1 asks 0.3",
        ),
        (
            {"pins": {"layer1.0.conv1": 0.3}, "skip": ("layer1*",)},
            "Expected one rate for unit layer1.0.conv1",
        ),
        (  # a group's layers fall together: one member's rate would silently win
            {"pins": {"layer1.0.conv2": 0.3, "layer2.0.conv2": 0.5}},
            "Expected one rate for unit conv1, but layer1.0.conv2 asks 0.3 and layer2.0.conv2",
        ),
        ({"pins": {"fc": 0.5}}, "can be removed for the rate of fc, but fc: its outputs are the"),
    ],
)
def test_contradictions_are_told(options, text):
    with pytest.raises(LesionError, match=text):
        fixed(ANATOMY, Budget(macs=0.5, **options))
