"""NNCF ignores the layers that are excluded, and quantises all others."""

import copy
import json
import re

import pytest
import quantised
import torch
from torch import nn

import lesion
from lesion.errors import LesionError

INPUT_1 = r"__nncf_hooks\.pre_hooks\.(.+)/(?:conv|linear)\w*/\d+__1\.0"  # their weight


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
    images, weights = nncf.Dataset([case.images]), re.compile(INPUT_1)

    def rounded(**options):
        network = copy.deepcopy(case.network)
        small = nncf.quantize(network, images, subset_size=1, **options)
        matches = [weights.fullmatch(key) for key, _ in small.named_modules()]
        return {match[1].replace("/", ".") for match in matches if match}

    every = rounded()  # it leaves squeeze-and-excitation alone
    assert rounded(ignored_scope=ignored) == every - set(case.excluded())
    assert every & set(case.excluded())


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
