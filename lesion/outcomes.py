"""What a pass over images leaves behind: one row of columns an image, and sums."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

COLUMNS = ("top1", "top5", "agreement")


@dataclass(frozen=True)
class Outcomes:
    """The scores of n images in the study's order, as booleans, and the sum of their losses.

    top1, top5: the label is the most likely class, or among the five most likely
    agreement: the prediction equals the intact network's
    loss: the cross-entropy in nats, summed over the n images
    """

    top1: np.ndarray
    top5: np.ndarray
    agreement: np.ndarray
    loss: float

    def __len__(self) -> int:
        return len(self.top1)

    @classmethod
    def join(cls, parts: Iterable["Outcomes"]) -> "Outcomes":
        """Outcomes of consecutive images as one; the outcomes of no image if there are none."""
        found = list(parts)
        columns = {
            name: np.concatenate([np.zeros(0, bool), *(getattr(part, name) for part in found)])
            for name in COLUMNS
        }
        return cls(**columns, loss=float(sum(part.loss for part in found)))


@dataclass(frozen=True)
class Intact:
    """What the intact network made of n images: outcomes, label, prediction, and margin.

    margin: the label's logit minus the best other logit; positive where the network is right
    """

    outcomes: Outcomes
    label: np.ndarray
    prediction: np.ndarray
    margin: np.ndarray

    def __len__(self) -> int:
        return len(self.label)
