"""AIMET excludes the layers that are excluded, and gives the others their bits."""

import json

import pytest
import quantised


def test_names_and_bits():
    case = quantised.case("resnet20")
    values = json.loads(case.exported("aimet"))
    assert values["excluded_layers"] == case.excluded(16)
    assert values["param_bitwidths"] == {layer: few for layer, few in case.bits.items() if few}


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v3_small"])
def test_exactly_the_excluded_layers_in_aimet(name):
    quantsim = pytest.importorskip(
        "aimet_torch.quantsim", reason="AIMET quantises by the export to it"
    )
    case = quantised.case(name)
    layers = json.loads(case.exported("aimet"))
    sim = quantsim.QuantizationSimModel(case.network, dummy_input=case.images)
    module = sim.model.get_submodule
    sim.exclude_layers_from_quantization([module(name) for name in layers["excluded_layers"]])
    for layer, few in layers["param_bitwidths"].items():
        module(layer).param_quantizers["weight"].bitwidth = few
    sim.compute_encodings(lambda model: model(case.images))
    bits = {}
    for layer, part in quantised.modules(sim.model):
        quantisers = getattr(part, "param_quantizers", {}).items()
        quantiser = dict(quantisers).get("weight")
        bits[layer] = getattr(quantiser, "bitwidth", None)
    assert bits == dict(case.bits)
