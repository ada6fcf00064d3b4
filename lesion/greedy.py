"""Greedy selection as in Li et al. 2017 (section 3.3): filters ranked without what is gone already.

Independent selection ranks a filter by its whole norm; greedy selection leaves out the kernels that
read channels which earlier layers have lost.  Where the channels before a layer stay whole, as in
first convolutions of blocks with identity shortcuts, both choose the same filters.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lesion.allocation import Allocation, UnitRate
from lesion.anatomy import Layer, keeps
from lesion.criteria import Filters, criterion
from lesion.dissect import Dissection
from lesion.errors import LesionError


def greedy(dissection: Dissection, allocation: Allocation) -> Allocation:
    """The same counts of channels, chosen layer after layer in order of execution.

    Each free unit's filters are ranked by the allocation's criterion, with the kernels that read
    fallen channels at zero. Coupled units keep their choice, since their layers come one after
    another. Raises LesionError for a criterion that does not look at weights.
    """
    if allocation.criterion not in ("l1", "l2"):
        raise LesionError(
            f"Expected a criterion that sums over kernels, l1 or l2, got {allocation.criterion}: "
            "greedy selection leaves kernels out of the sum."
        )
    anatomy = dissection.anatomy
    rates = {rate.unit: rate for rate in allocation.rates}
    gone = np.zeros(anatomy.channels, bool)
    for rate in allocation.rates:
        if rate.kind == "coupled":
            _drop(dissection, gone, rate)
    for layer in anatomy.layers:
        own = rates.get(layer.unit)
        if own and own.pruned and own.kind == "free" and own.unit == layer.name:
            rates[own.unit] = _chosen(dissection, allocation, layer, own, gone)
            _drop(dissection, gone, rates[own.unit])
    return replace(allocation, rates=tuple(rates.values()))


def _drop(dissection: Dissection, gone: np.ndarray, rate: UnitRate) -> None:
    unit = dissection.anatomy.unit[rate.unit]
    fallen = np.ones(unit.channels, bool)
    fallen[np.array(rate.kept, int)] = False
    gone[unit.first : unit.first + unit.channels] |= fallen


def _chosen(
    dissection: Dissection, allocation: Allocation, layer: Layer, rate: UnitRate, gone: np.ndarray
) -> UnitRate:
    """A unit's rate with the channels that fall by what is left of the filters."""
    anatomy = dissection.anatomy
    unit = anatomy.unit[rate.unit]
    weight = _without(dissection.graph.parameters[layer.weight], layer, gone)
    scores = criterion(allocation.criterion)(Filters(layer.name, weight, None, 0)).cpu().numpy()
    total = np.zeros(unit.channels)
    np.add.at(total, np.array(anatomy.made_by(layer.name)) - unit.first, scores)
    fallen = np.zeros(unit.channels, bool)
    for cell in unit.cells:
        inside = np.array(cell) - unit.first
        kept = np.isin(inside, rate.kept).sum()
        fallen[inside[np.argsort(total[inside], kind="stable")[: len(inside) - kept]]] = True
    own = np.zeros(anatomy.channels, bool)
    own[unit.first : unit.first + unit.channels] = fallen
    filters = {
        name: tuple(np.flatnonzero(keeps(anatomy.made_by(name), own)).tolist())
        for name in rate.filters
    }
    return replace(rate, kept=tuple(np.flatnonzero(~fallen).tolist()), filters=filters)


def _without(weight: Tensor, layer: Layer, gone: np.ndarray) -> Tensor:
    """The filters with zeros for the kernels that read fallen channels, outputs first."""
    if layer.kind.startswith("transposed"):
        grouped = weight.reshape(layer.groups, -1, *weight.shape[1:])
        weight = grouped.transpose(1, 2).flatten(0, 1)
    reads = torch.from_numpy(keeps(layer.reads, gone)).reshape(layer.groups, -1)
    by_filter = reads.repeat_interleave(len(weight) // layer.groups, 0).to(weight)
    return weight * by_filter.reshape(len(weight), -1, *[1] * (weight.dim() - 2))
