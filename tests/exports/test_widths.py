"""Bits for tools that quantise: who stands which, what the files say, and who takes what."""

import json

import allocations
import pytest
import quantised
from anatomies import planted
from hypothesis import given
from hypothesis import strategies as st

import lesion
from lesion.errors import LesionError
from lesion.exports.targets import target
from lesion.exports.widths import Widths

QUANTISERS = ("aimet", "modelopt", "nncf", "onnxruntime", "tensorrt", "torchao")
MODULES = ("aimet", "modelopt", "nncf", "torchao")  # that need no ONNX file
FEWEST = st.none() | st.integers(2, 16)


def widths(bits, asked=None):
    return Widths(quantised.advice_of(bits), planted("pre_activation"), asked)


@given(st.lists(FEWEST, max_size=6), st.integers(2, 16), st.integers(2, 16))
def test_bits_are_the_fewest_that_a_layer_stands(fewest, asked, most):
    bits = {str(place): few for place, few in enumerate(fewest)}
    own = {name: few if few and few <= most else None for name, few in bits.items()}
    assert widths(bits).of_each(most) == own
    at_asked = {name: asked if few and few <= asked else None for name, few in bits.items()}
    excluded = [name for name, width in at_asked.items() if width is None]
    assert widths(bits, asked).excluded() == widths(bits).excluded(asked) == excluded
    if asked <= most:
        assert widths(bits, asked).of_each(most) == at_asked


@pytest.mark.parametrize(("to", "most"), [("torchao", 8), ("modelopt", 8)])
def test_a_width_that_the_tool_does_not_have(to, most):
    with pytest.raises(LesionError) as error:
        quantised.case("resnet20").exported(to, bits=most + 1)
    assert str(error.value) == (
        f"Expected at most {most} bits, which the tool has, got {most + 1}; give --bits {most}."
    )


@pytest.mark.parametrize("to", MODULES)
def test_every_file_says_of_what_it_is_and_why(to, tmp_path):
    case = quantised.case("resnet20")
    text = case.exported(to, path=tmp_path / "x.json")
    values = json.loads((tmp_path / "x.json").read_text())
    assert json.loads(text) == values
    assert values["subject"] == quantised.SUBJECT and values["damage"] == "quantise"
    assert values["guarantee"] == "All of it is planted."
    assert "weights alone" in values["caveat"]
    most = 16 if to == "aimet" else 8
    assert list(values["excluded"]) == case.excluded(most)
    assert all(reason.startswith("planted ") for reason in values["excluded"].values())


@pytest.mark.parametrize("to", QUANTISERS)
def test_a_tool_that_quantises_takes_no_other_damage(to):
    sentence = f"Expected advice of quantise for {to}, got advice of"
    advice = quantised.advice_of({"a": 8}, "low_rank:form=cp")
    with pytest.raises(LesionError) as error:
        lesion.export(advice, to, anatomy=planted("pre_activation"))
    assert str(error.value) == (
        f"{sentence} low_rank:form=cp; sweep with --damage quantise, or export to a target that "
        "takes low_rank."
    )
    with pytest.raises(LesionError) as error:
        lesion.export(allocations.plain(()), to)
    assert str(error.value) == (
        f"{sentence} filters; sweep with --damage quantise, or export to a target that takes "
        "filters."
    )


def test_a_pruner_takes_no_bits():
    with pytest.raises(LesionError) as error:
        lesion.export(quantised.advice_of({"a": 8}), "torch-pruning")
    assert str(error.value) == (
        "Expected advice of filters for torch-pruning, got advice of quantise; export these bits "
        "to a tool that quantises, such as nncf or onnxruntime."
    )


@pytest.mark.parametrize("option", [{"bits": 8}, {"onnx": "x.onnx"}])
def test_a_pruner_has_no_width_and_no_file(option):
    with pytest.raises(LesionError) as error:
        lesion.export(allocations.plain(()), "csv", **option)
    assert str(error.value) == (
        f"Expected a tool that quantises for --{next(iter(option))}, got csv; leave it out."
    )


def test_bits_need_the_anatomy():
    with pytest.raises(LesionError, match=r"give .* or anatomy=study.anatomy"):
        lesion.export(quantised.advice_of({"a": 8}), "nncf")


def test_options_of_the_damage_do_not_matter():
    case = quantised.case("resnet20")
    advice = quantised.advice_of(case.bits, "quantise:per=tensor")
    values = json.loads(lesion.export(advice, "aimet", anatomy=case.anatomy))
    assert values["damage"] == "quantise:per=tensor"
    assert all(target(to).DAMAGE == "quantise" for to in QUANTISERS)


def test_what_torchao_has_no_kernels_for():
    anatomy = planted("one_dimension")
    bits = {layer.name: 4 for layer in anatomy.layers}
    values = json.loads(lesion.export(quantised.advice_of(bits), "torchao", anatomy=anatomy))
    flat = [layer.name for layer in anatomy.layers if layer.kind == "conv1d"]
    assert values["unsupported"] == flat and flat
    assert not set(flat) & set(values["config"]["_data"]["fqn_to_config"])
