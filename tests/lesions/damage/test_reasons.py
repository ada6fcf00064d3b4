"""Options, amounts, and the layers and amounts that a damage does not fit."""

import compressible
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lesion.compression.footprint import Shape
from lesion.errors import LesionError
from lesion.lesions.damage import Settings, damage, names, plan
from lesion.lesions.damage.low_rank import ranks
from lesion.lesions.lesion import Skipped, Target


@pytest.fixture(scope="module")
def anatomy():
    return compressible.opened("depthwise")[2].anatomy


@pytest.fixture(scope="module")
def plain():
    return compressible.opened("vgg")[2].anatomy


def reasons(name, anatomy):
    return {each.target: each.reason for each in damage(name).targets(anatomy)[1]}


def test_options_stand_behind_the_name_where_they_are_not_the_usual():
    assert damage("quantise").name == "quantise"
    assert damage("quantise:per=channel").name == "quantise"
    assert damage("quantise:clip=mse,per=tensor").name == "quantise:per=tensor,clip=mse"
    assert damage("ternary:threshold=0.75").threshold == 0.75
    assert damage("n_m:m=8").amounts.grid == (7, 6, 5, 4, 3, 2, 1)
    for name in names():
        assert damage(name).name == name


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("quantise:per=row", "per channel or tensor for quantise, got 'row'"),
        ("quantise:pre=tensor", r"options that quantise takes \(per=channel, grid=symmetric"),
        ("filters:per=row", r"options that filters takes \(none\), got 'filters:per=row'"),
        ("quantize", "did you mean quantise"),
        ("quantise:", "did you mean quantise"),
        ("n_m:m=0", "m above 0 for n_m, got 0"),
        ("n_m:m=1", "m of at least 2 for n_m, got 1"),
        ("n_m:m=x", "options that n_m takes"),
        ("ternary:threshold=nan", "threshold above 0"),
        ("quantise:percentile=101", "a percentile up to 100"),
    ],
)
def test_options_that_cannot_be_are_told(given, text):
    with pytest.raises(LesionError, match=text):
        damage(given)


@pytest.mark.parametrize(
    ("name", "amount"),
    [("quantise", 1), ("quantise", 17), ("quantise", 2.5), ("n_m", 4), ("binary", 0),
     ("shuffle", 1.5), ("low_rank", 1), ("ternary", 3), ("groups", 1), ("codebook", 9)],
)  # fmt: skip
def test_amounts_that_cannot_be_are_told(name, amount):
    with pytest.raises(LesionError, match=f"got {amount:g}"):
        damage(name).amounts.check([amount])


@pytest.mark.parametrize("name", names())
def test_the_usual_amounts_can_be_and_rise_in_harm(name):
    amounts = damage(name).amounts
    amounts.check(amounts.grid)
    assert tuple(amounts.sort(amounts.grid)) == amounts.grid


def test_the_last_amount_may_be_the_whole():
    damage("shuffle").amounts.check([1.0])


def test_depthwise_layers_have_reasons(anatomy):
    assert reasons("n_m", anatomy) == {
        "0": "its filters read 3 inputs, fewer than 4",
        "6": "its filters read 1 input, fewer than 4",
    }
    assert reasons("sparsity:grain=input_channel", anatomy) == {
        "6": "depthwise: each input channel is a filter"
    }
    assert "6" in reasons("low_rank", anatomy) and "13" in reasons("low_rank", anatomy)
    assert reasons("low_rank:form=spatial", anatomy)["3"] == (
        "its kernel has one position: form=svd fits it"
    )
    assert reasons("sparsity:grain=kernel", anatomy).keys() == {"3", "9", "18"}
    assert reasons("groups", anatomy).keys() == {"6", "11", "13"}
    assert reasons("product", anatomy)["0"] == "its 3 inputs are no multiple of 8"
    assert reasons("quantise", anatomy) == {}


def lesion_of(name, anatomy, layer, amount):
    kind = damage(name)
    return kind.lesion(anatomy, Target(layer, "layer"), amount, None, Settings())


@pytest.mark.parametrize(
    ("name", "layer", "amount", "reason"),
    [
        ("groups", "0", 2, "2 groups: 3 inputs and 8 filters are no multiples of it"),
        ("codebook", "12", 8, "8 bits: it has no more than 80 weights"),
        ("product", "4", 8, "8 bits: it has no more than 144 sub-vectors"),
    ],
)
def test_amounts_that_do_nothing_are_rows_with_a_reason(plain, name, layer, amount, reason):
    found = lesion_of(name, plain, layer, amount)
    assert isinstance(found, Skipped) and reason in found.reason


def test_a_rank_that_saves_nothing_is_none():
    narrow = compressible.anatomy_of(nn.Sequential(nn.Flatten(), nn.Linear(6, 1)), 6)
    found = lesion_of("low_rank", narrow, "1", 0.5)
    assert isinstance(found, Skipped)
    assert "factors of the lowest rank have no fewer MACs" in found.reason


@given(st.integers(2, 40), st.integers(2, 40), st.sampled_from(["svd", "spatial", "tucker2", "cp"]),
       st.floats(0.05, 0.95))  # fmt: skip
def test_ranks_are_the_largest_that_save_as_much(filters, inputs, form, saved):
    shape = Shape(filters, inputs, (3, 3), (4, 4), (8, 8))
    rank = ranks(shape, form, saved)
    most = (1 - saved) * shape.intact().macs
    if any(one > 1 for one in rank):
        assert shape.factored(form, rank).macs <= most * (1 + 1e-6)
    if form != "tucker2":
        assert shape.factored(form, (rank[0] + 1,)).macs > most
    elif rank[0] < inputs and rank[1] < filters:
        assert shape.factored(form, (rank[0] + 1, rank[1] + 1)).macs > most


def test_lesions_of_one_damage_with_other_options_have_other_keys(plain):
    kinds = [damage(name) for name in ("quantise", "quantise:per=tensor", "codebook")]
    target = Target("4", "layer")
    lesions = [plan(plain, {target: None}, [4], Settings(), kind)[0][0] for kind in kinds]
    assert len({lesion.key for lesion in lesions}) == 3
    assert {lesion.criterion for lesion in lesions} == {""}
