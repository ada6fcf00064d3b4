"""filters: channels removed, as in the physically smaller network (Li et al. 2017, section 3.1)."""

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from lesion.compression.footprint import FLOAT, Footprint, Saving
from lesion.errors import LesionError
from lesion.lesions.amounts import FILTERS
from lesion.lesions.damage import Damage, Settings
from lesion.lesions.lesion import Lesion, Skipped, Target
from lesion.lesions.ratios import dropped, falling
from lesion.lesions.targets import targets
from lesion.network.anatomy import Anatomy

if TYPE_CHECKING:
    from lesion.lesions.edits import Edit
    from lesion.network.dissection import Dissection


class Filters(Damage):
    """The filters of a layer, or the channels of a unit, that score lowest are gone.

    An amount is the pruning ratio: the share of them that falls.
    """

    name = "filters"
    amounts = FILTERS

    def targets(
        self, anatomy: Anatomy, units: str = "free", layers: Sequence[str] = ()
    ) -> tuple[list[Target], list[Skipped]]:
        """Units, and layers' parts in sums; see `lesion.lesions.targets.targets`."""
        return targets(anatomy, units, layers)

    def lesion(
        self,
        anatomy: Anatomy,
        target: Target,
        amount: float,
        scores: np.ndarray | None,
        settings: Settings,
    ) -> Lesion | Skipped:
        """The lesion, or that the ratio, rounded, removes nothing."""
        assert scores is not None
        fallen = int(falling(anatomy, target, scores, amount, settings.rounding).sum())
        if not fallen:
            reason = f"{100 * amount:g} % of its {len(scores)} channels, rounded, is none"
            return Skipped(target.name, target.kind, reason)
        return Lesion(
            target.name,
            target.kind,
            settings.criterion,
            amount,
            fallen,
            len(scores),
            self.name,
            settings.rounding,
            settings.seed,
            settings.recovery,
        )

    def edit(self, dissection: "Dissection", lesion: Lesion, scores: np.ndarray | None) -> "Edit":
        """The channels are zero, or left out, wherever an operation mixes them."""
        from lesion.lesions.edits import channels

        assert scores is not None
        edit = channels(dissection, lesion.at, dropped(dissection.anatomy, lesion, scores))
        if not edit.edges:
            raise LesionError("nothing reads its channels")
        return edit

    def footprint(
        self, anatomy: Anatomy, lesion: Lesion, scores: np.ndarray | None = None
    ) -> Saving | None:
        """Of all layers whose weights shrink: those whose filters fall, and those that read them.

        Of a branch the layer's own filters count alone: others still make its channels. None
        without scores, since channels may differ in what they cost.
        """
        if lesion.kind == "branch":
            whole = _cost(anatomy, [lesion.target], 1.0)
            return Saving(
                whole, _cost(anatomy, [lesion.target], 1 - lesion.pruned / lesion.channels)
            )
        if scores is None:
            return None
        gone = dropped(anatomy, lesion, scores)
        weights = {layer.name: anatomy.parameter[layer.weight] for layer in anatomy.layers}
        smaller = [name for name, weight in weights.items() if weight.kept(gone) != weight.shape]
        return Saving(_cost(anatomy, smaller), _cost(anatomy, smaller, gone=gone))

    def saving(self, anatomy: Anatomy, lesion: Lesion) -> float:
        """The MACs of the layers that fall, and of those that only follow them."""
        unit = None if lesion.kind == "branch" else lesion.target
        layers = (n for n in anatomy.layers if n.unit == unit or n.name == lesion.target)
        return sum(layer.macs for layer in layers) * lesion.pruned / lesion.channels


def _cost(
    anatomy: Anatomy, layers: Sequence[str], share: float = 1.0, gone: np.ndarray | None = None
) -> Footprint:
    """Of layers that keep a share of their filters, or all but what is gone."""
    dropped_labels = np.zeros(anatomy.channels, bool) if gone is None else gone
    parameters = macs = 0
    for layer in map(anatomy.layer.__getitem__, layers):
        names = [name for name in (layer.weight, layer.bias) if name]
        numbers = [prod(anatomy.parameter[name].kept(dropped_labels)) for name in names]
        parameters += round(share * sum(numbers))
        macs += round(share * numbers[0]) * layer.positions
    return Footprint(parameters, FLOAT * parameters, macs, macs, macs * FLOAT * FLOAT)


damage = Filters()
