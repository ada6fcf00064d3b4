"""NNI (written for 3.0): its list of configurations for pruning.

    config_list = json.load(open("rates.json"))["config_list"]
    L1NormPruner(model, config_list).compress()

Layers that no entry names stay whole; the layers of a coupled unit share a `dependency_group_id`,
so that they lose the same filters.  NNI chooses the filters itself, by its pruner: as many fall as
the rates say, not always the same ones.
"""

import json
from typing import Any

import numpy as np

from lesion.errors import LesionError
from lesion.exports.layer_ratios import Share, shares
from lesion.exports.origin import about
from lesion.exports.targets import Handover
from lesion.network.anatomy import Anatomy
from lesion.rates.unit_rate import UnitRate

SUFFIX = ".json"


def content(given: Handover) -> str:
    """JSON with `config_list` as the pruners of `nni.compression.pruning` take it.

    Raises LesionError for what such a list cannot say: a unit whose layers have different numbers
    of filters, or lie in weights of different shapes, and groups whose filters are not in order.
    """
    by_layer = shares(given.allocation, given.anatomy)
    entries = [
        _entry(layer, by_layer[layer], rate, given.anatomy)
        for rate in given.allocation.cut
        for layer in rate.filters
    ]
    values = {**about(given.allocation), "config_list": entries}
    return json.dumps(values, indent=2) + "\n"


def _entry(layer: str, share: Share, rate: UnitRate, anatomy: Anatomy | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"op_names": [layer], "sparse_ratio": share.taking}
    if len(rate.filters) > 1:
        _check_alike(rate, anatomy)
        entry["dependency_group_id"] = rate.unit
    if anatomy is not None:
        blocks = _blocks(anatomy, layer, rate)
        if blocks > 1:
            entry["internal_metric_block"] = blocks
            entry.setdefault("dependency_group_id", rate.unit)  # blocks count in groups alone
    return entry


def _check_alike(rate: UnitRate, anatomy: Anatomy | None) -> None:
    """One mask serves all layers of a group."""
    alike = len(set(rate.filters.values())) == 1
    if alike and anatomy is not None:
        alike = len({_shape(anatomy, layer) for layer in rate.filters}) == 1
    if not alike:
        raise _unsaid(rate, "gives its layers one mask, but these number their filters differently")


def _shape(anatomy: Anatomy, layer: str) -> tuple[int, int, bool]:
    """What must be equal for one mask to fit: filters, axes, and the axis the filters lie on."""
    record = anatomy.layer[layer]
    axes = len(anatomy.parameter[record.weight].shape)
    return record.channels, axes, record.kind.startswith("transposed")


def _blocks(anatomy: Anatomy, layer: str, rate: UnitRate) -> int:
    """How many blocks of a layer's filters must lose equally many."""
    if anatomy.layer[layer].kind.startswith("transposed"):
        raise _unsaid(rate, f"masks the inputs of transposed layers, such as {layer}")
    cells = anatomy.unit[rate.unit].cells
    block = {label: number for number, cell in enumerate(cells) for label in cell}
    blocks = [block.get(label, -1) for label in anatomy.made_by(layer)]
    in_order = np.repeat(np.arange(len(cells)), len(blocks) // len(cells)).tolist()
    if len(cells) > 1 and blocks != in_order:
        raise _unsaid(rate, "takes groups of filters in order, but these are mixed")
    return len(cells)


def _unsaid(rate: UnitRate, why: str) -> LesionError:
    return LesionError(
        f"Expected rates that NNI can be told, but for unit {rate.unit} it {why}; hand over "
        "which filters stay instead (--to masks)."
    )
