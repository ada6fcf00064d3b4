"""ModelOpt quantises each layer to the bits that it stands, and disables the excluded ones."""

import json

import pytest
import quantised


def entries(case, **more):
    return json.loads(case.exported("modelopt", **more))


def test_signs_in_names_stand_for_themselves():
    from fnmatch import fnmatch

    from lesion.exports.targets.modelopt import _plain

    assert fnmatch("a[0].*?", _plain("a[0].*?")) and not fnmatch("a0.xy", _plain("a[0].*?"))


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v3_small"])
def test_each_layer_has_its_bits_in_modelopt(name):
    mtq = pytest.importorskip(
        "modelopt.torch.quantization", reason="ModelOpt quantises by the export to it"
    )
    case = quantised.case(name)
    small = mtq.quantize(case.network, entries(case)["config"], lambda net: net(case.images))
    bits = {
        layer: module.weight_quantizer.num_bits if module.weight_quantizer.is_enabled else None
        for layer, module in quantised.modules(small)
    }
    assert bits == dict(case.bits)
    assert not any(module.input_quantizer.is_enabled for _, module in quantised.modules(small))


def test_disabled_entries_go_with_a_configuration_of_its_own():
    mtq = pytest.importorskip(
        "modelopt.torch.quantization", reason="ModelOpt quantises by the export to it"
    )
    case = quantised.case("resnet20")
    whole = mtq.INT8_DEFAULT_CFG
    config = {**whole, "quant_cfg": [*whole["quant_cfg"], *entries(case, bits=8)["disabled"]]}
    small = mtq.quantize(case.network, config, lambda net: net(case.images))
    running = {
        layer: module.weight_quantizer.is_enabled or module.input_quantizer.is_enabled
        for layer, module in quantised.modules(small)
    }
    assert [layer for layer, runs in running.items() if not runs] == case.excluded()
