"""What a page shows where it was measured besides, and the command that makes it."""

import json
from dataclasses import replace

import pandas as pd
import planted
import pytest

import lesion
from lesion.errors import LesionError
from lesion.joint.verification import Check
from lesion.reports.page.facts import commands
from lesion.reports.page.more import checks, pairs, ways
from lesion.results.reading import Reading
from lesion.zoo import output_names

TRADEOFF = pd.DataFrame(
    [
        {"way": "lesion", "macs": 1.0, "accuracy": 93.0, "low": 93.0, "high": 93.0, "tuned": False},
        {"way": "lesion", "macs": 0.5, "accuracy": 80.0, "low": 79.0, "high": 81.0, "tuned": False},
        {"way": "uniform", "macs": 0.5, "accuracy": 30.0, "low": None, "high": 31, "tuned": True},
    ]
)
PAIRS = pd.DataFrame(
    [
        {"first": "a", "second": "</script>\x1b", "interaction": 1.5, "low": 1.0, "high": 2.0,
         "together": 4.0, "first_drop": 1.5, "second_drop": 1.0, "images": 500}
    ]
)  # fmt: skip


@pytest.fixture
def study(tmp_path):
    with planted.study(tmp_path / "s.lesion", ratios=(0.25, 0.5, 0.75)) as made:
        yield made


def test_the_tradeoff_is_told_by_shares():
    first, second, third = ways(TRADEOFF)
    assert first["way"] == "intact" and first["share"] == 100
    assert second == {
        "way": "lesion", "tuned": False, "share": 50, "accuracy": 80, "low": 79, "high": 81
    }  # fmt: skip
    assert third["tuned"] and third["low"] is None and ways(None) == []


def test_pairs_are_told_as_measured():
    (pair,) = pairs(PAIRS)
    assert pair["second"] == r"</script>\u001b" and pair["interaction"] == 1.5
    assert pair["images"] == 500 and pairs(None) == []


@pytest.mark.parametrize("name", ["tradeoff", "interactions"])
def test_tables_of_another_kind_are_refused(study, name):
    with pytest.raises(LesionError, match="Expected columns"):
        lesion.report(study, tolerances=1, **{name: pd.DataFrame({"a": [1]})})


def test_checks_of_the_study_are_told(study):
    rates = lesion.recommend(study, budget=lesion.Budget(macs=0.8))
    known = Check(rates, 1.0, 0.025, 1, "safe", 300, 400, 93.0, 0.5, -0.25, 1.25)
    later = replace(known, number=2, verdict="undecided")
    for check in (known, later):
        study.add_check(json.dumps(check.to_dict()))
    first, second = checks(study)
    assert (first["number"], first["verdict"], first["drop"]) == (1, "safe", 0.5)
    assert first["macs"] == pytest.approx(100 * rates.pruned.macs / rates.intact.macs, abs=0.05)
    assert (second["verdict"], second["images"], second["held"]) == ("undecided", 300, 400)
    assert first["max_drop"] == "1 point"


def test_commands_are_those_of_the_study(study):
    told = commands(study, [Reading.of(study)]).splitlines()
    assert told == [
        "lesion recommend s.lesion --damage filters --criterion l1",
        "lesion report s.lesion -o report.html",
    ]


def test_outputs_bear_the_networks_names_or_those_of_a_file(tmp_path):
    bundled = output_names({"network": "demo:resnet20"}, 10)
    assert (bundled[0], bundled[9]) == ("T-shirt/top", "ankle boot")
    (tmp_path / "names.txt").write_text("n02123045 big cat\nbig dog\n")
    named = output_names({}, 2, tmp_path / "names.txt")
    assert named == {0: "n02123045 big cat", 1: "big dog"}
    assert output_names({"network": "net.py:make"}, 2) == {}
