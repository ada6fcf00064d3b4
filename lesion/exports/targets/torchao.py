"""torchao (tested with 0.18): a configuration for each layer, with the bits that it stands.

    config = config_from_dict(json.load(open("torchao.json"))["config"])
    quantize_(network, config, filter_fn=None)

The weights alone are quantised, with batch norm unfolded, in a step for each filter, and of
convolutions for each place of its kernel: finer than the study's.
"""

import json
from typing import Any

from lesion.exports.widths import Widths, is_module
from lesion.network.anatomy import Layer

SUFFIX = ".json"
DAMAGE = "quantise"


def content(given: Widths) -> str:
    """JSON with `config`, a serialised `FqnToConfig`, and `bits` by the layer.

    What it cannot quantise, convolutions of other than two dimensions and those whose filters read
    one channel each, is left out and listed in `unsupported`.
    """
    layers = given.anatomy.layer
    widths = given.of_each()
    unsupported = [name for name in widths if not _fits(layers[name])]
    bits = {name: width for name, width in widths.items() if name not in unsupported}
    names = {name: name if is_module(layers[name]) else layers[name].weight for name in bits}
    configs = {names[name]: width and _config(width) for name, width in bits.items()}
    values = {
        **given.about([name for name, width in widths.items() if width is None]),
        "unsupported": unsupported,
        "bits": {name: width for name, width in bits.items() if width is not None},
        "config": _typed("FqnToConfig", {"fqn_to_config": configs}),
    }
    return json.dumps(values, indent=2) + "\n"


def _fits(layer: Layer) -> bool:
    """Whether torchao has steps for a layer's weight: none where a filter reads one channel."""
    return layer.kind == "linear" or (layer.kind == "conv2d" and layer.channels_in > layer.groups)


def _config(bits: int) -> dict[str, Any]:
    """Weights in so many bits, a step for each filter."""
    weight = {
        "weight_dtype": {"_type": "torch.dtype", "_data": f"int{bits}"},
        "granularity": _typed("PerAxis", {"axis": 0}, 1),
    }
    return _typed("IntxWeightOnlyConfig", weight, 2)


def _typed(kind: str, values: dict[str, Any], version: int = 1) -> dict[str, Any]:
    """An object as torchao serialises it."""
    return {"_type": kind, "_version": version, "_data": values}
