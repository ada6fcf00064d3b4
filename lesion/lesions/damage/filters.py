"""filters: channels removed, as in the physically smaller network (Li et al. 2017, section 3.1)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lesion.compression.footprint import Saving
from lesion.errors import LesionError
from lesion.lesions.amounts import FILTERS
from lesion.lesions.damage import Damage, Settings
from lesion.lesions.kept_cost import kept_cost
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
            whole = kept_cost(anatomy, [lesion.target])
            kept = 1 - lesion.pruned / lesion.channels
            return Saving(whole, kept_cost(anatomy, [lesion.target], kept))
        if scores is None:
            return None
        gone = dropped(anatomy, lesion, scores)
        smaller = anatomy.shrinking(gone)
        return Saving(kept_cost(anatomy, smaller), kept_cost(anatomy, smaller, gone=gone))

    def saving(self, anatomy: Anatomy, lesion: Lesion) -> float:
        """The MACs of the layers that fall, and of those that only follow them."""
        unit = None if lesion.kind == "branch" else lesion.target
        layers = (n for n in anatomy.layers if n.unit == unit or n.name == lesion.target)
        return sum(layer.macs for layer in layers) * lesion.pruned / lesion.channels


damage = Filters()
