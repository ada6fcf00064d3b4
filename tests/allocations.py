"""Rates made by hand, for tests of what is done with them."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from small_networks import NETWORKS

from lesion.lesions.criteria import criterion as known_criterion
from lesion.lesions.lesion import Target
from lesion.lesions.ratios import falling
from lesion.lesions.scores import Scorer
from lesion.network.anatomy import Anatomy, Unit, keeps
from lesion.network.cost import Cost, cost
from lesion.network.dissection import Dissection
from lesion.rates.allocation import Allocation
from lesion.rates.unit_rate import UnitRate

SUBJECT = {"weights": "3f5a", "preprocessing": "mean 0.5, |std| 0.25", "order": "seed 0"}
GUARANTEE = "With 95 % confidence no claim is wrong, on these 10 000 images."


def by_ratio(
    dissection: Dissection, ratios: Mapping[str, float] | float, criterion: str = "random"
) -> Allocation:
    """Units with a share of their channels gone, by a criterion: some, or all that can be cut."""
    fallen = {}
    for unit in dissection.anatomy.units:
        ratio = ratios if isinstance(ratios, float) else ratios.get(unit.name, 0.0)
        if unit.kind != "tied" and not unit.held and ratio:
            target = Target(unit.name, unit.kind)
            own = Scorer(dissection, known_criterion(criterion)).scores(target)
            gone = falling(dissection.anatomy, target, own, ratio, "floor-kept")
            fallen[unit.name] = np.flatnonzero(gone).tolist()
    return by_channels(dissection.anatomy, fallen)


def mixed(dissection: Dissection, seed: int = 0) -> Allocation:
    """Random filters of every unit that can be cut, another share of each; some stay whole."""
    numbers = np.random.default_rng(seed)
    units = [unit.name for unit in dissection.anatomy.units if unit.kind != "tied"]
    ratios = numbers.choice([0.0, 0.15, 0.3, 0.5, 0.8], len(units)).tolist()
    return by_ratio(dissection, dict(zip(units, ratios, strict=True)))


def by_labels(anatomy: Anatomy, dropped: np.ndarray) -> Allocation:
    """Units without the labels in a boolean array over all of them."""
    fallen = {
        unit.name: np.flatnonzero(dropped[unit.first : unit.first + unit.channels]).tolist()
        for unit in anatomy.units
    }
    return by_channels(anatomy, fallen)


def by_channels(anatomy: Anatomy, fallen: Mapping[str, list[int]]) -> Allocation:
    """Units without the numbered channels."""
    units = [unit for unit in anatomy.units if unit.kind != "tied"]
    assert fallen.keys() <= {unit.name for unit in anatomy.units}
    rates = tuple(_rate(anatomy, unit, fallen.get(unit.name, [])) for unit in units)
    made = plain(rates)
    return replace(made, intact=cost(anatomy), pruned=cost(anatomy, made.dropped(anatomy)))


def _rate(anatomy: Anatomy, unit: Unit, fallen: list[int]) -> UnitRate:
    gone = np.zeros(anatomy.channels, bool)
    gone[[unit.first + channel for channel in fallen]] = True
    stage = anatomy.layer[unit.layers[0]].stage
    filters = {
        name: tuple(np.flatnonzero(keeps(anatomy.made_by(name), gone)).tolist())
        for name in unit.layers
    }
    kept = tuple(channel for channel in range(unit.channels) if channel not in fallen)
    return UnitRate(unit.name, unit.kind, stage, unit.channels, kept, filters, 0.25, 0.75, 0.5)


def plain(rates: tuple[UnitRate, ...]) -> Allocation:
    """Rates of units, with everything else made up."""
    return Allocation(
        SUBJECT, "50 % of the MACs", "l1", "top1", 91.5, 10000, rates, Cost(1000, 100, 90),
        Cost(500, 60, 55), 0.5, 1.25, GUARANTEE,
    )  # fmt: skip


def unit(name: str, channels: int, kept: tuple[int, ...], **filters: tuple[int, ...]) -> UnitRate:
    """One unit's rate; filters: of its layers, by default those of one that has its name."""
    kind = "coupled" if len(filters) > 1 else "free"
    return UnitRate(name, kind, 1, channels, kept, filters or {name: kept}, -0.25, 0.75, 0.5)


# one of each kind of coupling; the other small networks come with `pytest -m complete`
FEW = {
    "transposed_in_groups", "depthwise_doubled", "layer_norm", "concatenation", "pre_activation",
    "flattened", "squeeze_and_excite", "gated_linear_unit",
}  # fmt: skip


def networks(without: set[str] = frozenset()) -> list:
    """The names of the small networks, for `parametrize`; most only in the long form."""
    return [
        name if name in FEW else pytest.param(name, marks=pytest.mark.complete)
        for name in NETWORKS
        if name not in without
    ]
