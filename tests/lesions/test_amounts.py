"""What the numbers of a kind of damage mean, and what a study remembers of it."""

import json
from dataclasses import asdict, replace

import planted
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesion.errors import LesionError, StudyError
from lesion.lesions.amounts import FILTERS, Amounts
from lesion.lesions.lesion import Lesion
from lesion.study.merge import merge
from lesion.study.study import Study

BITS = Amounts(
    (8, 6, 4, 2), "bit width", "bits of weights", "bits", rising=False, high=33, whole=True
)


@pytest.fixture
def study(tmp_path):
    with Study.create(tmp_path / "a.lesion", planted.header(images=10)) as made:
        yield made


def test_ratios_and_bits_read_as_people_say_them():
    assert (FILTERS.text(0.3), FILTERS.phrase(0.3, "outputs")) == ("30 %", "30 % of its outputs")
    assert (BITS.text(4), BITS.phrase(4)) == ("4 bits", "4 bits")
    assert (FILTERS.axis, BITS.axis) == ("filters pruned (%)", "bits of weights")


def test_one_is_told_without_the_ending_of_several():
    blocks = Amounts((1, 2), "number", "blocks deleted", "blocks")
    assert [blocks.text(amount) for amount in (1, 2)] == ["1 block", "2 blocks"]
    assert FILTERS.text(0.01) == "1 %"


def test_what_is_done_or_not_reads_without_a_number():
    block = Amounts((1,), "block", "block", of="its deletion", high=1, closed=True, only="deleted")
    assert (block.text(1), block.phrase(1), block.up_to) == ("deleted", "its deletion", "when")
    assert (block.worst, BITS.worst) == ("deleted", "most harmful amount")


@given(st.lists(st.integers(1, 32), min_size=1))
def test_amounts_are_sorted_by_the_harm_they_do(amounts):
    assert BITS.sort(amounts) == sorted(set(amounts), reverse=True)
    harm = list(map(BITS.severity, BITS.sort(amounts)))
    assert harm == sorted(harm)


@pytest.mark.parametrize(
    ("amounts", "given_", "text"),
    [
        (FILTERS, [0.3, 1.0], r"between 0 and 1, got 1; 0\.3 removes 30 % of the filters"),
        (FILTERS, [], "Expected at least one pruning ratio, got none; try 0.1,0.5,0.9"),
        (BITS, [4, 2.5], "Expected whole bit widths between 0 and 33, got 2.5"),
        (BITS, [float("nan")], "got nan"),
        (BITS, [33], "got 33"),
    ],
)
def test_what_cannot_be_is_refused(amounts, given_, text):
    with pytest.raises(LesionError, match=text):
        amounts.check(given_)


def test_a_study_remembers_how_amounts_read_and_refuses_another_meaning(study):
    study.set_damage("quantise", BITS)
    study.set_damage("quantise", replace(BITS, grid=(16, 3)))  # other defaults mean the same
    assert study.damages == {"filters": FILTERS, "quantise": BITS}
    with pytest.raises(StudyError, match=r"amounts of quantise .* counted otherwise"):
        study.set_damage("quantise", replace(BITS, rising=True))


def test_joined_studies_remember_all(study, tmp_path):
    study.set_damage("quantise", BITS)
    study.set_criterion("taylor", "1024 images")
    with Study.create(tmp_path / "b.lesion", study.header):
        merge([tmp_path / "a.lesion", tmp_path / "b.lesion"], tmp_path / "c.lesion")
    with Study.open(tmp_path / "c.lesion") as joined:
        assert joined.damages["quantise"] == BITS and joined.criteria == {"taylor": "1024 images"}


def test_other_images_of_a_criterion_are_refused(study):
    study.set_criterion("taylor", "1024 images")
    with pytest.raises(StudyError, match=r"images that .* knows of criterion taylor"):
        study.set_criterion("taylor", "512 images")


def test_lesions_of_an_unknown_damage_are_no_study(study):
    study.add([Lesion("conv1", "branch", "l1", 4, 0, 8, damage="quantise")])
    with pytest.raises(StudyError, match=r"its lesion quantise/branch/conv1/l1/4.* cannot be"):
        Study.open(study.path)


@pytest.mark.parametrize("field", [field for field in asdict(BITS) if field != "grid"])
def test_what_no_study_remembers_is_refused(field):
    values = {**asdict(BITS), field: ["no"]}
    with pytest.raises(ValueError, match=f"{field} is no"):
        Amounts.from_json(json.dumps(values))
