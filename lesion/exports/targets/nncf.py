"""NNCF (tested with 3.4): the layers that it is to ignore.

    ignored = nncf.IgnoredScope(**json.load(open("nncf.json"))["ignored_scope"])
    quantized = nncf.quantize(network, calibration, ignored_scope=ignored)

Patterns name operations of a torch network as NNCF's graph does: "layer1/0/conv1/conv2d/0" is the
first convolution in the module layer1.0.conv1.  With an ONNX file the names are those of its nodes.
`nncf.quantize` has 8 bits, of weights and activations; for `nncf.compress_weights` to 4 bits of
weights alone ask for 4.
"""

import json
import re

from lesion.errors import LesionError
from lesion.exports.widths import Widths, is_module

SUFFIX = ".json"
DAMAGE = "quantise"


def content(given: Widths) -> str:
    """JSON with `ignored_scope` as `nncf.IgnoredScope` takes it, and the `bits` it is for."""
    excluded = given.excluded()
    scope: dict[str, list[str]]
    if given.onnx is None:
        scope = {"patterns": [_pattern(given, layer) for layer in excluded]}
    else:
        from lesion.exports.onnx_nodes import nodes_of

        path, network = given.of_network("nncf")
        scope = {"names": list(nodes_of(path, network, given.anatomy, excluded))}
    values = {**given.about(excluded), "bits": given.bits or 8, "ignored_scope": scope}
    return json.dumps(values, indent=2) + "\n"


def _pattern(given: Widths, layer: str) -> str:
    """A regular expression for a layer's operation, each time that it is called."""
    record = given.anatomy.layer[layer]
    if not is_module(record):
        raise LesionError(
            f"Expected layers that are modules, as NNCF names operations by these, but the weight "
            f"of {layer} is {record.weight}; export for an ONNX file (--onnx), whose nodes hold it."
        )
    return rf"^{re.escape(layer.replace('.', '/'))}/(conv|linear)\w*/\d+$"
