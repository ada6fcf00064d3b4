"""How much each layer loses, for pruners that are told a share and count for themselves."""

from collections.abc import Callable
from dataclasses import dataclass
from math import gcd

import numpy as np

from lesion.errors import LesionError
from lesion.network.anatomy import Anatomy
from lesion.rates.allocation import Allocation
from lesion.rates.unit_rate import UnitRate

NUDGE = 1e-9  # far above the errors of floats, far below one filter


@dataclass(frozen=True)
class Share:
    """How many of a layer's filters fall, and with which unit.

    Both ratios are pruned / filters, moved by a billionth where floats would make a count that is
    one off; they hold for the layer as a whole and for each of equal groups of its filters.
    """

    unit: str
    pruned: int
    filters: int

    @property
    def leaving(self) -> float:
        """The ratio for a pruner that leaves int(n · (1 − ratio)) of n, such as Torch-Pruning.

        >>> int(10 * (1 - 9 / 10)), int(10 * (1 - Share("conv", 9, 10).leaving))
        (0, 1)
        """
        return self._ratio(lambda n, ratio: n - int(n * (1 - ratio)), -NUDGE)

    @property
    def taking(self) -> float:
        """The ratio for a pruner that takes away int(n · ratio) of n, such as NNI.

        >>> int(100 * (29 / 100)), int(100 * Share("conv", 29, 100).taking)
        (28, 29)
        """
        return self._ratio(lambda n, ratio: int(n * ratio), NUDGE)

    def _ratio(self, count: Callable[[int, float], int], nudge: float) -> float:
        ratio, common = self.pruned / self.filters, gcd(self.pruned, self.filters)
        parts = (n for n in range(1, common + 1) if common % n == 0)
        exact = all(count(self.filters // n, ratio) == self.pruned // n for n in parts)
        return ratio if exact else ratio + nudge


def shares(allocation: Allocation, anatomy: Anatomy | None = None) -> dict[str, Share]:
    """The share of each layer that loses filters, in order of execution.

    anatomy: of the network, which knows how many filters a layer has; without it they must be
        numbered as the channels of their unit, one or several in a row for each
    Raises LesionError where the layers of a unit lose different shares, so that no single ratio
    can be given for it, and where a layer falls with two units by different shares.
    """
    by_layer: dict[str, Share] = {}
    for rate in allocation.cut:
        for layer, kept in rate.filters.items():
            filters = _filters(rate, layer, anatomy)
            share = Share(rate.unit, filters - len(kept), filters)
            first = by_layer.setdefault(layer, share)
            if share.pruned * rate.channels != rate.pruned * filters:
                raise _conflict(
                    f"{share.pruned} of {filters} filters of {layer} fall, but {rate.pruned} of "
                    f"{rate.channels} channels of its unit {rate.unit}"
                )
            if first.pruned * filters != share.pruned * first.filters:
                raise _conflict(f"{layer} falls both with {first.unit} and with {rate.unit}")
    return by_layer


def staying(allocation: Allocation, anatomy: Anatomy | None = None) -> dict[str, np.ndarray]:
    """For each layer that loses filters which stay, as booleans; anatomy: as for `shares`."""
    if anatomy is None:
        counts = {layer: share.filters for layer, share in shares(allocation).items()}
    else:
        counts = {layer: anatomy.layer[layer].channels for layer in allocation.filters}
    stay = {layer: np.ones(filters, bool) for layer, filters in counts.items()}
    for rate in allocation.cut:
        for layer, kept in rate.filters.items():
            stay[layer] &= np.isin(np.arange(counts[layer]), kept)  # a layer may be of two units
    return stay


def _filters(rate: UnitRate, layer: str, anatomy: Anatomy | None) -> int:
    """How many filters a layer has."""
    if anatomy is not None:
        return anatomy.layer[layer].channels
    kept = rate.filters[layer]
    several, rest = divmod(len(kept), len(rate.kept))
    if rest:
        raise _conflict(
            f"{len(kept)} filters of {layer} stay, but {len(rate.kept)} channels of its unit "
            f"{rate.unit}"
        )
    if kept != tuple(several * channel + n for channel in rate.kept for n in range(several)):
        raise LesionError(
            f"Expected filters of {layer} that are numbered as the channels of its unit "
            f"{rate.unit}, but they are not, so that the network has to tell how many there are; "
            "give its anatomy (anatomy=study.anatomy, or lesion.layers(network, images))."
        )
    return several * rate.channels


def _conflict(what: str) -> LesionError:
    return LesionError(
        f"Expected one ratio for all that falls together, but {what}; hand over which filters "
        "stay instead of ratios (--to masks, or torch-pruning)."
    )
