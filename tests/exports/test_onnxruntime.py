"""ONNX Runtime leaves out the nodes of the layers that are excluded, and no others."""

import json

import numpy as np
import onnx
import pytest
import quantised
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from torch import nn

import lesion
from lesion.errors import LesionError

COMPUTING = ("Conv", "Gemm", "MatMul")


class Images(CalibrationDataReader):
    def __init__(self, path, images):
        (given,) = onnx.load(path).graph.input
        self.batches = iter([{given.name: images.numpy()}])

    def get_next(self):
        return next(self.batches, None)


def computing(path):
    """The nodes with weights, in the order in which they run: that of the layers."""
    graph = onnx.load(path).graph
    made = {output: node for node in graph.node for output in node.output}
    quantised_by = {
        node.name: node.input[1] in made and made[node.input[1]].op_type == "DequantizeLinear"
        for node in graph.node
        if node.op_type in COMPUTING
    }
    return quantised_by


def check(case, path):
    values = json.loads(case.exported("onnxruntime", onnx=path, network=case.network))
    small = path.with_name("int8.onnx")
    quantize_static(path, small, Images(path, case.images), per_channel=True,
                    nodes_to_exclude=values["nodes_to_exclude"])  # fmt: skip
    layers = [layer.name for layer in case.anatomy.layers]
    layer_of = dict(zip(computing(path), layers, strict=True))
    after = computing(small)
    assert after.keys() == layer_of.keys()
    assert [layer_of[node] for node, few in after.items() if not few] == case.excluded()
    assert values["layer_of"] == {node: layer_of[node] for node in values["nodes_to_exclude"]}
    assert list(values["excluded"]) == case.excluded()


def test_exactly_the_excluded_layers_of_resnet20(tmp_path):
    case = quantised.case("resnet20")
    check(case, case.onnx(tmp_path / "x.onnx"))


@pytest.mark.complete
@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v3_small"])
@pytest.mark.filterwarnings("ignore")
def test_both_networks_by_both_exporters(tmp_path, name, dynamo):
    case = quantised.case(name)
    check(case, case.onnx(tmp_path / "x.onnx", dynamo))


def test_a_width_that_fewer_stand(tmp_path):
    case = quantised.case("resnet20")
    path = case.onnx(tmp_path / "x.onnx")
    values = json.loads(case.exported("onnxruntime", onnx=path, network=case.network, bits=4))
    assert list(values["layer_of"].values()) == case.excluded(4)
    assert set(case.excluded()) < set(case.excluded(4))


def test_another_network_is_told(tmp_path):
    case, other = quantised.case("resnet20"), quantised.case("resnet20").network
    path = case.onnx(tmp_path / "x.onnx")
    with torch.no_grad():
        other.get_submodule(case.excluded()[0]).weight.normal_()
    with pytest.raises(LesionError) as error:
        case.exported("onnxruntime", onnx=path, network=other)
    assert str(error.value) == (
        f"Expected a node with the weight of {case.excluded()[0]} in {path}, got none; give an "
        "ONNX file of the network that was swept, neither pruned nor quantised."
    )


def by_hand(path, weights, ops, names=("n0", "n1", "n2")):
    """A chain of nodes with these weights."""
    nodes, given = [], "x"
    for place, (op, options) in enumerate(ops):
        inputs = [given, f"w{place}"]
        if op == "Turned":
            nodes.append(helper.make_node("Transpose", [inputs[1]], [f"t{place}"], perm=[1, 0]))
            op, inputs = "MatMul", [given, f"t{place}"]
        nodes.append(helper.make_node(op, inputs, [f"y{place}"], name=names[place], **options))
        given = f"y{place}"
    held = [numpy_helper.from_array(weight, f"w{at}") for at, weight in enumerate(weights)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", given)]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], held)
    onnx.save(helper.make_model(graph), path)
    return path


def linears():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)).eval()
    anatomy = lesion.layers(network, torch.randn(2, 4))
    weights = [network[place].weight.detach().numpy() for place in range(3)]
    return network, anatomy, weights


def nodes(path, network, anatomy):
    advice = quantised.advice_of({"0": None, "1": 8, "2": None})
    text = lesion.export(advice, "onnxruntime", anatomy=anatomy, onnx=path, network=network)
    return json.loads(text)["layer_of"]


def test_weights_turned_and_folded_are_found(tmp_path):
    network, anatomy, (first, second, third) = linears()
    factors = np.array([[2.0], [-0.5], [1.0], [0.0]], np.float32)
    weights = [first * factors, second.T.copy(), third]
    ops = [("Gemm", {"transB": 1}), ("MatMul", {}), ("Turned", {})]
    path = by_hand(tmp_path / "x.onnx", weights, ops)
    assert nodes(path, network, anatomy) == {"n0": "0", "n2": "2"}


@pytest.mark.parametrize(("names", "same", "text"), [
    (("n0", "n1", "n2"), True, "has weights of both 0 and 2"),
    (("", "n1", "n2"), False, "one that computes 0 has no name"),
])  # fmt: skip
def test_what_cannot_be_told_apart(tmp_path, names, same, text):
    network, anatomy, weights = linears()
    if same:
        with torch.no_grad():
            network[2].weight.copy_(network[0].weight)
    path = by_hand(tmp_path / "x.onnx", weights, [("Gemm", {"transB": 1})] * 3, names)
    with pytest.raises(LesionError) as error:
        nodes(path, network, anatomy)
    assert text in str(error.value)


def test_trtexec_is_told_the_same_nodes(tmp_path):
    network, anatomy, weights = linears()
    path = by_hand(tmp_path / "x.onnx", weights, [("Gemm", {"transB": 1})] * 3)
    advice = quantised.advice_of({"0": None, "1": 8, "2": None})
    given = {"anatomy": anatomy, "onnx": path, "network": network}
    values = json.loads(lesion.export(advice, "tensorrt", **given))
    assert values["trtexec"] == (
        "--int8 --precisionConstraints=obey --layerPrecisions=n0:fp32,n2:fp32"
    )
    assert values["layer_precisions"] == {"n0": "fp32", "n2": "fp32"}
    by_hand(path, weights, [("Gemm", {"transB": 1})] * 3, ("n:0", "n1", "n2"))
    with pytest.raises(LesionError, match="names that trtexec can be told, got 'n:0'"):
        lesion.export(advice, "tensorrt", **given)
    every = quantised.advice_of({"0": 8, "1": 8, "2": 8})
    assert json.loads(lesion.export(every, "tensorrt", **given))["trtexec"] == "--int8"


@pytest.mark.parametrize("to", ["onnxruntime", "tensorrt"])
def test_the_file_is_needed(to):
    with pytest.raises(LesionError) as error:
        quantised.case("resnet20").exported(to)
    assert str(error.value) == (
        f"Expected the ONNX file and the network that it was made of for {to}, which names nodes "
        "of that file; give onnx=… and network=… (--onnx, --network)."
    )
