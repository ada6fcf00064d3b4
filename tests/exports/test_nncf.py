"""NNCF ignores the layers that are excluded, and quantises all others."""

import json

import pytest
import quantised
import torch
from torch import nn

import lesion
from lesion.errors import LesionError


def scope(text):
    return json.loads(text)["ignored_scope"]


def test_patterns_name_operations_in_modules():
    case = quantised.case("resnet20")
    patterns = scope(case.exported("nncf"))["patterns"]
    assert len(patterns) == len(case.excluded())
    assert patterns[0] == r"^layer1/0/conv1/(conv|linear)\w*/\d+$"


def test_layers_that_are_no_modules_are_told():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.kernel = nn.Parameter(torch.randn(4, 3, 3, 3))

        def forward(self, x):
            return torch.conv2d(x, self.kernel).mean((2, 3))

    anatomy = lesion.layers(Bare(), torch.randn(2, 3, 8, 8))
    (layer,) = anatomy.layers
    with pytest.raises(LesionError, match=f"the weight of {layer.name} is kernel"):
        lesion.export(quantised.advice_of({layer.name: None}), "nncf", anatomy=anatomy)


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v3_small"])
def test_exactly_the_excluded_layers_in_nncf(name):
    nncf = pytest.importorskip("nncf", reason="NNCF quantises by the export to it")
    case = quantised.case(name)
    ignored = nncf.IgnoredScope(**scope(case.exported("nncf")))
    images = nncf.Dataset([case.images])
    small = nncf.quantize(case.network, images, ignored_scope=ignored, subset_size=1)
    quantised_weights = {
        key.split("post_hooks.")[1].partition("__")[0].replace(":", ".")
        for key in small.state_dict()
        if "post_hooks." in key and "weight" in key
    }
    left = [name for name, _ in quantised.modules(case.network)
            if f"{name}.weight" not in quantised_weights]  # fmt: skip
    assert left == case.excluded()


@pytest.mark.complete
def test_exactly_the_excluded_nodes_of_an_onnx_file(tmp_path):
    nncf = pytest.importorskip("nncf", reason="NNCF quantises by the export to it")
    import onnx

    case = quantised.case("resnet20")
    path = case.onnx(tmp_path / "x.onnx")
    text = case.exported("nncf", onnx=path, network=case.network)
    model = onnx.load(path)
    (given,) = model.graph.input
    images = nncf.Dataset([{given.name: case.images.numpy()}])
    ignored = nncf.IgnoredScope(**scope(text))
    graph = nncf.quantize(model, images, ignored_scope=ignored, subset_size=1).graph
    made = {output: node.op_type for node in graph.node for output in node.output}
    computing = [node for node in graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    layers = [layer.name for layer in case.anatomy.layers]
    left = [layer for layer, node in zip(layers, computing, strict=True)
            if made.get(node.input[1]) != "DequantizeLinear"]  # fmt: skip
    assert left == case.excluded()
