"""NVIDIA ModelOpt (tested with 0.47): quantisers by the layer, and those that are disabled.

    config = json.load(open("modelopt.json"))["config"]
    mtq.quantize(network, config, forward_loop)

That quantises the weights alone, as the study did, each layer's to the bits that it stands.  For a
configuration of ModelOpt's own, such as mtq.INT8_DEFAULT_CFG, which has 8 bits for activations too,
ask for 8 bits, and append `disabled` to the list in its "quant_cfg".
"""

import json
from typing import Any

from lesion.exports.widths import Widths

SUFFIX = ".json"
DAMAGE = "quantise"


def content(given: Widths) -> str:
    """JSON with a whole `config`, and the entries of excluded layers by themselves (`disabled`)."""
    widths = given.of_each()
    excluded = [name for name, width in widths.items() if width is None]
    disabled = [{"quantizer_name": f"{_plain(name)}.*", "enable": False} for name in excluded]
    quantised = [_entry(name, width) for name, width in widths.items() if width is not None]
    entries = [{"quantizer_name": "*", "enable": False}, *quantised, *disabled]
    values = {
        **given.about(excluded),
        "config": {"quant_cfg": entries, "algorithm": "max"},
        "disabled": disabled,
    }
    return json.dumps(values, indent=2) + "\n"


def _entry(name: str, bits: int) -> dict[str, Any]:
    """A layer's weight in so many bits, with a step for each filter."""
    return {
        "quantizer_name": f"{_plain(name)}.weight_quantizer",
        "cfg": {"num_bits": bits, "axis": 0},
    }


def _plain(name: str) -> str:
    """A name in which nothing stands for anything else, where fnmatch reads it."""
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in name)
