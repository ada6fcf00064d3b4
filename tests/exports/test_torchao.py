"""torchao quantises each layer to the bits that it stands, and leaves the excluded ones."""

import json

import pytest
import quantised
import torch


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v3_small"])
def test_each_layer_has_its_bits_in_torchao(name):
    pytest.importorskip("torchao", reason="torchao quantises by the export to it")
    from torchao.core.config import config_from_dict
    from torchao.quantization import quantize_

    case, network = quantised.case(name), quantised.case(name).network
    config = config_from_dict(json.loads(case.exported("torchao"))["config"])
    quantize_(network, config, filter_fn=None)
    types = {
        layer: getattr(module.weight, "target_dtype", None)
        for layer, module in quantised.modules(network)
    }
    single = {layer for layer, module in quantised.modules(case.whole)
              if module.weight.dim() == 4 and module.weight.shape[1] == 1}  # fmt: skip
    assert types == {
        layer: None if few is None or layer in single else getattr(torch, f"int{few}")
        for layer, few in case.bits.items()
    }
    with torch.no_grad():
        given, wanted = network(case.images), case.whole(case.images)
    assert given.shape == wanted.shape and not torch.equal(given, wanted)


def test_one_width_for_all():
    case = quantised.case("resnet20")
    values = json.loads(case.exported("torchao", bits=4))
    kept = [layer for layer, config in values["config"]["_data"]["fqn_to_config"].items() if config]
    assert kept == [layer for layer in case.bits if layer not in (*case.excluded(4), "conv1")]
    assert set(values["bits"].values()) == {4}
