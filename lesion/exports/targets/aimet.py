"""AIMET (tested with aimet-torch 2.42): layers to exclude, and the bits of the others.

    layers = json.load(open("aimet.json"))
    module = sim.model.get_submodule
    sim.exclude_layers_from_quantization([module(name) for name in layers["excluded_layers"]])
    for name, bits in layers["param_bitwidths"].items():
        module(name).param_quantizers["weight"].bitwidth = bits
    sim.compute_encodings(forward)

`sim` is a `QuantizationSimModel` of the network.  Configuration files of AIMET's own name types of
operations, none a single layer; `excluded_layers` is called so in its files of encodings too.
"""

import json

from lesion.exports.widths import Widths, is_module

SUFFIX = ".json"
DAMAGE = "quantise"
MOST = 16


def content(given: Widths) -> str:
    """JSON with `excluded_layers` and `param_bitwidths`, both by the names of torch's modules.

    Layers that are no modules are in neither: AIMET quantises modules alone.
    """
    widths = given.of_each(MOST)
    modules = {name for name in widths if is_module(given.anatomy.layer[name])}
    excluded = [name for name, width in widths.items() if width is None]
    kept = {name: bits for name, bits in widths.items() if bits and name in modules}
    values = {
        **given.about(excluded),
        "excluded_layers": [name for name in excluded if name in modules],
        "param_bitwidths": kept,
    }
    return json.dumps(values, indent=2) + "\n"
