"""TensorRT (by the documentation of trtexec, not run): the layers that stay in 32 bits.

    trtexec --onnx=network.onnx --calib=calibration.cache $(jq -r .trtexec tensorrt.json)

Its parser names layers after the nodes of the ONNX file, which are found by the weights that they
hold.  Such constraints are for weakly typed networks with implicit quantisation; a file that has
quantising nodes already, such as ONNX Runtime's and ModelOpt's, says by these what is quantised.
"""

import json

from lesion.errors import LesionError
from lesion.exports.onnx_nodes import nodes_of
from lesion.exports.widths import Widths

SUFFIX = ".json"
DAMAGE = "quantise"
RESOLVED = True


def content(given: Widths) -> str:
    """JSON with `layer_precisions` by the node, and the options for it in one line (`trtexec`).

    Raises LesionError for names that a specification of trtexec cannot hold.
    """
    path, network = given.of_network("tensorrt")
    excluded = given.excluded()
    nodes = nodes_of(path, network, given.anatomy, excluded)
    broken = [node for node in nodes if set(node) & set(":, *")]
    if broken:
        raise LesionError(
            f"Expected names that trtexec can be told, got '{broken[0]}'; rename the nodes of "
            f"{path} so that none has a colon, a comma, a star or a space."
        )
    options = "--int8"
    if nodes:
        spec = ",".join(f"{node}:fp32" for node in nodes)
        options += f" --precisionConstraints=obey --layerPrecisions={spec}"
    values = {
        **given.about(excluded),
        "layer_precisions": dict.fromkeys(nodes, "fp32"),
        "trtexec": options,
    }
    return json.dumps(values, indent=2) + "\n"
