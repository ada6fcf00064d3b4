"""What one lesion costs: its drop, paired image by image with the intact network, and how sure."""

from dataclasses import dataclass, replace
from math import isnan, nan

import numpy as np

from lesion.errors import LesionError
from lesion.sequential.paired_intervals import bonett_price, newcombe
from lesion.subject.outcomes import Intact, Outcomes
from lesion.subject.set_score import Resampled


@dataclass(frozen=True)
class Drop:
    """The numbers of one lesion, see `lesion.curves`; NaN and None where there are none.

    baseline, accuracy in per cent; drop, low, high in points; loss_rise in nats
    reason: "" or why there are no numbers
    """

    images: int = 0
    baseline: float = nan
    accuracy: float = nan
    drop: float = nan
    low: float = nan
    high: float = nan
    interval: str = ""
    broken: int | None = None
    repaired: int | None = None
    loss_rise: float = nan
    reason: str = ""

    @classmethod
    def counted(cls, outcomes: Outcomes, intact: Intact, column: str) -> "Drop":
        """How many images were seen, broken and repaired, and nothing else."""
        lesioned = outcomes[column]
        if lesioned.dtype != bool:
            return cls(len(outcomes))
        base = intact.outcomes[column][outcomes.images]
        broken, repaired = int((base & ~lesioned).sum()), int((~base & lesioned).sum())
        return cls(len(outcomes), broken=broken, repaired=repaired)

    @classmethod
    def evaluated(cls, intact: float, lesioned: float) -> "Drop":
        """Of a network that was evaluated once, as a whole."""
        return cls(baseline=intact, accuracy=lesioned, drop=intact - lesioned, interval="none")

    def bootstrapped(
        self, intact: Resampled | None, lesioned: Resampled | None, level: float
    ) -> "Drop":
        """With an interval where both networks' values are known of images drawn again."""
        if intact is None or lesioned is None:
            return self
        half = lesioned.half_width(intact, level)
        if isnan(half):
            return self
        low, high = self.drop - half, self.drop + half
        return replace(self, images=intact.images, low=low, high=high, interval="bootstrap")

    def exact(self, outcomes: Outcomes, intact: Intact, column: str, level: float) -> "Drop":
        """With what all images say."""
        base, lesioned = intact.outcomes[column], outcomes[column]
        drop, low, high = paired(base, lesioned, level)
        rise = nan
        if "loss" in outcomes.columns:
            before = intact.outcomes["loss"].mean(dtype=float)
            rise = float(outcomes["loss"].mean(dtype=float) - before)
        return replace(
            self,
            baseline=100 * base.mean(),
            accuracy=100 * lesioned.mean(),
            drop=100 * drop,
            low=100 * low,
            high=100 * high,
            interval="fixed",
            loss_rise=rise,
        )

    def estimated(self, baseline: float, ends: np.ndarray) -> "Drop":
        """With an estimate from some images and both ends of its interval, as proportions."""
        drop, low, high = map(float, 100 * ends)
        return replace(
            self,
            baseline=baseline,
            accuracy=baseline - drop,
            drop=drop,
            low=low,
            high=high,
            interval="anytime",
        )


def paired(base: np.ndarray, lesioned: np.ndarray, level: float) -> tuple[float, float, float]:
    """The drop of a lesioned network's scores on all images, and its interval, as proportions.

    Newcombe's method 10 for hits, Bonett and Price's for scores in between.
    """
    if base.dtype == bool:
        counts = (base & lesioned, base & ~lesioned, ~base & lesioned, ~base & ~lesioned)
        both, broken, repaired, neither = (int(count.sum()) for count in counts)
        return newcombe(both, broken, repaired, neither, level)
    return bonett_price((base.astype(float) - lesioned.astype(float)).tolist(), level)


def proportion(confidence: float) -> float:
    """A confidence in per cent as a proportion. Raises LesionError outside 50 to 100."""
    if not 50 <= confidence < 100:
        raise LesionError(
            f"Expected a confidence in per cent, 50 to below 100, such as 95, got {confidence}."
        )
    return confidence / 100
