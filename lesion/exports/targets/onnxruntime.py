"""ONNX Runtime (tested with 1.32): the nodes that its quantiser is to leave out.

    nodes = json.load(open("ort.json"))["nodes_to_exclude"]
    quantize_static("network.onnx", "int8.onnx", reader, nodes_to_exclude=nodes)

They are found in the very file that is to be quantised, by the weights that they hold.
`quantize_static` has 8 bits, of weights and activations.
"""

import json

from lesion.exports.onnx_nodes import nodes_of
from lesion.exports.widths import Widths

SUFFIX = ".json"
DAMAGE = "quantise"
RESOLVED = True


def content(given: Widths) -> str:
    """JSON with `nodes_to_exclude`, and the layer of each (`layer_of`)."""
    path, network = given.of_network("onnxruntime")
    excluded = given.excluded()
    nodes = nodes_of(path, network, given.anatomy, excluded)
    values = {
        **given.about(excluded),
        "bits": given.bits or 8,
        "nodes_to_exclude": list(nodes),
        "layer_of": nodes,
    }
    return json.dumps(values, indent=2) + "\n"
