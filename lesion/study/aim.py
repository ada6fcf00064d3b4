"""What is asked of the lesions: tolerance, confidence, score, and whom the confidence is of."""

import math
from dataclasses import dataclass

from lesion.errors import LesionError
from lesion.subject.outcomes import EVALUATION, SCORES

GUARANTEES = ("study", "layer")
LEAST = 1e-9  # points: one image of a hundred billion


@dataclass(frozen=True)
class Aim:
    """What is asked of every lesion.

    max_drop: tolerated, in points of `column`; confidence: in per cent
    guarantee: what the confidence is of: that no claim of the whole "study" is wrong, or of one
        "layer" (each on its own)
    half_width: where it is not 0, go on until the interval of every drop is that narrow to both
        sides, in points; images are then seen in uniform order
    """

    max_drop: float = 1.0
    confidence: float = 95
    column: str = "top1"
    guarantee: str = "study"
    half_width: float = 0.0

    def check(self) -> None:
        """Raises LesionError for what cannot be asked."""
        if not 0 < self.max_drop < (math.inf if self.column == EVALUATION else 100):
            raise LesionError(
                f"Expected a tolerance in points, above 0 and below 100, such as 1, "
                f"got {self.max_drop:g}."
            )
        if self.max_drop < LEAST and self.column != EVALUATION:
            raise LesionError(
                f"Expected a tolerance of at least {LEAST:g} points, since no number of images "
                f"tells less from nothing, got {self.max_drop:g}; allow a larger drop."
            )
        if not 50 < self.confidence < 100:
            raise LesionError(
                f"Expected a confidence in per cent, above 50 and below 100, such as 95, "
                f"got {self.confidence:g}."
            )
        if not 0 <= self.half_width < 100:
            raise LesionError(
                f"Expected a half-width in points, above 0 and below 100, such as 0.5, "
                f"got {self.half_width:g}."
            )
        if self.column not in SCORES:
            raise LesionError(f"Expected a score {', '.join(SCORES)}, got '{self.column}'.")
        if self.guarantee not in GUARANTEES:
            raise LesionError(f"Expected a guarantee study or layer, got '{self.guarantee}'.")
