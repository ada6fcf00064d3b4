"""A layer whose weight rates damage."""

from dataclasses import dataclass

from lesion.lesions.lesion import Lesion


@dataclass(frozen=True)
class Compressed:
    """What becomes of a layer's weight.

    damage, amount, seed: as in the study's lesion; words: the amount as it reads
    drop, high: points lost when it alone is damaged so, and the upper end of that interval
    """

    layer: str
    damage: str
    amount: float
    seed: int
    words: str
    drop: float
    high: float

    @property
    def lesion(self) -> Lesion:
        """The lesion that does it."""
        kind = self.damage
        return Lesion(self.layer, "layer", "", self.amount, 0, 0, kind, "", self.seed)
