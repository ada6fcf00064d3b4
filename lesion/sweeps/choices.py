"""What to measure: ratios, units, layers, and the order of the images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lesion.boundary.public import SEEDS
from lesion.engine.recovery import parse as known_recovery
from lesion.engine.retrain import Recover
from lesion.errors import LesionError
from lesion.lesions.criteria import Given
from lesion.lesions.criteria import criterion as known_criterion
from lesion.lesions.damage import Damage, Settings
from lesion.lesions.damage import damage as known_damage
from lesion.lesions.ratios import check_rounding
from lesion.sweeps.identity import HOLDOUT, check_holdout


@dataclass(frozen=True)
class Choices:
    """What to measure.

    damage: what is done to a layer, by name or as an object, see `lesion.lesions.damage`
    ratios: the amounts of it, pruning ratios in (0, 1) for filters; None for the damage's own
    criterion: which filters go first, by name or as a function or object, see
        `lesion.lesions.criteria`
    units: "free" or "all"
    layers: patterns of layer names, none for all; rounding: "floor-kept" or "nearest"
    seed: of the images' order, the images kept back, and criteria that draw
    holdout: share of the images kept back for checking advice, in [0, 1)
    order: "margin" looks first where the intact network hesitates, "uniform" at images at random
    estimand: what a drop is of: this evaluation "set", or the "population" that it is drawn from
        (for which the order is uniform)
    recovery: what a lesioned network goes through before it is scored, see
        `lesion.engine.recovery.parse`; "" for nothing
    source: how a command line named the subject, for those that follow
    """

    ratios: Sequence[float] | None = None
    criterion: Given = "l1"
    units: str = "free"
    layers: Sequence[str] = ()
    rounding: str = "floor-kept"
    seed: int = 0
    holdout: float = HOLDOUT
    order: str = "margin"
    estimand: str = "set"
    recovery: str | Recover = ""
    source: Mapping[str, Any] = field(default_factory=dict)
    damage: str | Damage = "filters"

    @property
    def kind(self) -> Damage:
        """The damage. Raises LesionError where there is none of that name."""
        return known_damage(self.damage)

    @property
    def amounts(self) -> Sequence[float]:
        """How much of it."""
        return self.kind.amounts.grid if self.ratios is None else self.ratios

    @property
    def sees(self) -> bool:
        """Whether training images are seen, by a criterion, a damage or a recovery."""
        seeing = self.kind.scored and known_criterion(self.criterion).needs != "weights"
        return seeing or self.kind.images > 0 or bool(self.recovery)

    @property
    def settings(self) -> Settings:
        """What the lesions have in common."""
        recovery = known_recovery(self.recovery).name if self.recovery else ""
        name = known_criterion(self.criterion).name
        return Settings(name, self.rounding, self.seed, recovery)

    def check(self) -> None:
        """Raises LesionError for what cannot be, before any work."""
        if self.order not in ("margin", "uniform"):
            raise LesionError(f"Expected the order margin or uniform, got '{self.order}'.")
        if self.estimand not in ("set", "population"):
            raise LesionError(f"Expected the estimand set or population, got '{self.estimand}'.")
        if not 0 <= self.seed <= SEEDS:
            raise LesionError(
                f"Expected a seed from 0 to {SEEDS}, got {self.seed}; such as 0, 1 or 2."
            )
        check_rounding(self.rounding)
        self.kind.amounts.check(self.amounts)
        known_criterion(self.criterion)
        check_holdout(self.holdout)
        if self.recovery:
            known_recovery(self.recovery)
