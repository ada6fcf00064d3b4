"""Damages of one layer's weight whose cost depends on its values."""

import numpy as np

from lesion.compression.footprint import Footprint, Saving, Shape
from lesion.lesions.damage import Settings
from lesion.lesions.layer_damage import shape_of
from lesion.lesions.lesion import Lesion, Skipped, Target
from lesion.lesions.weight_damage import WeightDamage
from lesion.network.anatomy import Anatomy


class WeighedDamage(WeightDamage):
    """A damage that is given the weight where lesions are planned and their savings counted.

    Rates are not mixed of it: what a layer costs does not follow from its shape.
    """

    weighs = True
    mixes = False

    def nothing_in(self, shape: Shape, weight: np.ndarray, amount: float) -> str:
        """Why an amount does nothing to a layer of this weight, "" where it does."""
        raise NotImplementedError

    def left_of(self, shape: Shape, weight: np.ndarray, amount: float) -> Footprint:
        """What the damaged layer costs."""
        raise NotImplementedError

    def lesion(
        self,
        anatomy: Anatomy,
        target: Target,
        amount: float,
        scores: np.ndarray | None,
        settings: Settings,
    ) -> Lesion | Skipped:
        """The lesion, or that this amount does nothing to this weight."""
        assert scores is not None
        reason = self.nothing_in(shape_of(anatomy.layer[target.name]), scores, amount)
        if reason:
            return Skipped(target.name, target.kind, f"{self.amounts.text(amount)}: {reason}")
        return super().lesion(anatomy, target, amount, scores, settings)

    def footprint(
        self, anatomy: Anatomy, lesion: Lesion, scores: np.ndarray | None = None
    ) -> Saving | None:
        """Of the layer; None without its weight."""
        if scores is None:
            return None
        shape = shape_of(anatomy.layer[lesion.target])
        return Saving(shape.intact(), self.left_of(shape, scores, lesion.amount))
