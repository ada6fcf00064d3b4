"""Rates beside the network that they are for: which of its labels, filters and inputs fall."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor, nn

from lesion.errors import LesionError
from lesion.lesions.mixed_edit import Known, nothing
from lesion.network.anatomy import Anatomy, keeps
from lesion.network.dissect import dissect
from lesion.network.dissection import Dissection
from lesion.rates.allocation import Allocation
from lesion.rates.unit_rate import UnitRate
from lesion.subject.adapter import Adapter, BatchAdapter
from lesion.subject.batch import cloned, moved
from lesion.subject.network import Behind, device_of, evaluating, try_out


@dataclass(frozen=True, eq=False)
class Match:
    """A network, one batch on its device, and rates that were found to be for it.

    known: what their study keeps of a lesion's target, for damages that see images
    """

    allocation: Allocation
    network: nn.Module
    batch: Any
    adapter: Adapter | None
    dissection: Dissection
    known: Known = nothing

    @property
    def anatomy(self) -> Anatomy:
        return self.dissection.anatomy

    @cached_property
    def dropped(self) -> np.ndarray:
        """The labels that fall, as booleans over all labels."""
        return self.allocation.dropped(self.anatomy)

    def falling(self, layer: str) -> np.ndarray:
        """Which of a layer's filters fall, as booleans; none for a name that is no layer."""
        if layer not in self.anatomy.layer:
            return np.zeros(0, bool)
        return ~keeps(self.anatomy.made_by(layer), self.dropped)

    def unread(self, layer: str) -> np.ndarray:
        """Which of a layer's input channels fall, as booleans."""
        return ~keeps(self.anatomy.layer[layer].reads, self.dropped)

    def outputs(self, network: nn.Module, batch: Any) -> Any:
        """What a network gives for a batch, as it gives it."""
        return outputs(network, cloned(batch), self.adapter)

    def forward(self, network: nn.Module, batch: Any) -> Any:
        """What a network gives for that very batch, which it may change."""
        return outputs(network, batch, self.adapter)


def match(
    allocation: Allocation,
    network: nn.Module,
    example: Any,
    adapter: Adapter | None = None,
    known: Known = nothing,
) -> Match:
    """The rates resolved on a network of the kind that they were allocated for, whatever weights.

    example: one batch of two images or more, as for `lesion.layers`
    Raises LesionError where a unit is not there, has other channels or cannot be removed, and where
    the filters named for a layer are not those that its unit's channels name.
    """
    batch = moved(example, device_of(network))

    def forward(module: nn.Module, images: Any) -> Any:
        return outputs(module, images, adapter)

    try_out(network, Behind(forward), batch)
    with evaluating(network):
        dissection = dissect(network, forward, batch, scored=False)
    matched = Match(allocation, network, batch, adapter, dissection, known)
    _check_units(allocation, matched.anatomy)
    _check_filters(matched)
    return matched


def outputs(network: nn.Module, batch: Any, adapter: Adapter | None) -> Any:
    """What a network gives for a batch, as `lesion.layers` calls it."""
    if isinstance(batch, Tensor) and adapter is None:
        return network(batch)
    return (adapter or BatchAdapter()).forward(network, batch)


def _check_units(allocation: Allocation, anatomy: Anatomy) -> None:
    for rate in allocation.rates:
        if problem := _problem(rate, anatomy):
            raise LesionError(
                f"Expected rates of this network, but {problem}; give the network that was "
                "swept, or allocate rates from a study of this one."
            )
    twice = [unit for unit, n in Counter(rate.unit for rate in allocation.rates).items() if n > 1]
    if twice:
        raise LesionError(
            f"Expected one rate a unit, got several for {twice[0]}; the layers of a unit fall "
            "together, so leave one of them."
        )


def _problem(rate: UnitRate, anatomy: Anatomy) -> str:
    """What is wrong with a unit's rate, "" if nothing is."""
    unit = anatomy.unit.get(rate.unit)
    if unit is None:
        return f"it has no unit {rate.unit}"
    if unit.channels != rate.channels:
        return f"its unit {rate.unit} has {unit.channels} channels instead of {rate.channels}"
    if not rate.kept or set(rate.kept) - set(range(rate.channels)):
        return f"{rate.unit} is to keep channels that it does not have, or none"
    if rate.pruned and unit.kind == "tied":
        return f"{rate.unit} cannot be removed ({unit.reason})"
    unknown = [layer for layer in rate.filters if layer not in anatomy.layer]
    return f"it has no layer {unknown[0]}" if unknown else ""


def _check_filters(matched: Match) -> None:
    """The filters named must be those of the channels; a layer of two units keeps what both do."""
    for layer, kept in _named(matched.allocation):
        expected = np.flatnonzero(~matched.falling(layer)).tolist()
        if expected != sorted(kept):
            unit = matched.anatomy.layer[layer].unit
            raise LesionError(
                f"Expected the filters of {layer} that go with the channels of its unit {unit} "
                f"to stay ({_shortened(expected)}), got {_shortened(sorted(kept))}; the layers of "
                "a unit fall together: give all of them the same channels."
            )


def _named(allocation: Allocation) -> Iterator[tuple[str, set[int]]]:
    named: dict[str, set[int]] = {}
    for rate in allocation.cut:
        for layer, kept in rate.filters.items():
            named[layer] = named.get(layer, set(kept)) & set(kept)
    yield from named.items()


def _shortened(numbers: list[int]) -> str:
    """The first numbers of a list, and how many there are."""
    return f"{', '.join(map(str, numbers[:4]))}{' …' * (len(numbers) > 4)}, {len(numbers)} in all"
