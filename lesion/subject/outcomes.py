"""What passes over images leave behind: columns of scores, one row an image."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

EVALUATION = "evaluation"  # one number for all images: no column of outcomes holds it
# what can be judged, higher is better
SCORES = ("top1", "top5", "agreement", "tv", "score", EVALUATION)
TYPES: Mapping[str, type] = {
    "top1": np.bool_,
    "top5": np.bool_,
    "agreement": np.bool_,
    "tv": np.float32,
    "score": np.float32,
    "loss": np.float16,
    "margin": np.float16,
    EVALUATION: np.float64,
}


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The scores of some images, each a column by name.

    images: the images' positions in the study's order, rising
    - "top1", "top5": the label is the most likely class, or among the five most likely (booleans)
    - "agreement": the prediction equals the intact network's (booleans)
    - "tv": 1 minus the total variation between the softmax outputs and the intact network's
    - "score": what a user's own function gives, from 0 to 1
    - "loss": the cross-entropy in nats, in half precision
    - "margin": the label's logit minus the best other logit, in half precision
    """

    images: np.ndarray
    columns: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def take(self, chosen: np.ndarray | slice) -> "Outcomes":
        """Some of the rows: a slice, a boolean array, or places among the rows."""
        columns = {name: values[chosen] for name, values in self.columns.items()}
        return Outcomes(self.images[chosen], columns)

    def without(self, images: np.ndarray) -> "Outcomes":
        """The rows of other images than these."""
        return self.take(~np.isin(self.images, images))

    @classmethod
    def none(cls, columns: Sequence[str]) -> "Outcomes":
        """The outcomes of no image."""
        return cls(np.zeros(0, np.int64), {name: np.zeros(0, TYPES[name]) for name in columns})

    @classmethod
    def join(cls, parts: Iterable["Outcomes"], columns: Sequence[str]) -> "Outcomes":
        """The outcomes of different images as one, positions rising."""
        pieces = [cls.none(columns), *parts]
        images = np.concatenate([part.images for part in pieces])
        joined = {name: np.concatenate([part[name] for part in pieces]) for name in columns}
        return cls(images, joined).take(np.argsort(images, kind="stable"))


@dataclass(frozen=True, eq=False)
class Intact:
    """What the intact network made of the first images of the order, or of some that follow.

    label: the class, −1 where there is none; prediction: the most likely class, −1 likewise
    margin: the label's logit minus the best other logit, positive where the network is right;
        without labels the largest logit minus the second; NaN where there are no logits
    digest: 64 bits of the image as read, uint64
    """

    outcomes: Outcomes
    label: np.ndarray
    prediction: np.ndarray
    margin: np.ndarray
    digest: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    def take(self, chosen: np.ndarray | slice) -> "Intact":
        """Some of the rows."""
        return Intact(
            self.outcomes.take(chosen),
            self.label[chosen],
            self.prediction[chosen],
            self.margin[chosen],
            self.digest[chosen],
        )

    @classmethod
    def join(cls, parts: Iterable["Intact"], columns: Sequence[str]) -> "Intact":
        """Rows that follow one another as one."""
        pieces = [cls.none(columns), *parts]
        return cls(
            Outcomes.join((part.outcomes for part in pieces), columns),
            np.concatenate([part.label for part in pieces]),
            np.concatenate([part.prediction for part in pieces]),
            np.concatenate([part.margin for part in pieces]),
            np.concatenate([part.digest for part in pieces]),
        )

    @classmethod
    def none(cls, columns: Sequence[str]) -> "Intact":
        """The rows of no image."""
        nothing = np.zeros(0, np.int64)
        margin, digest = np.zeros(0, np.float32), np.zeros(0, np.uint64)
        return cls(Outcomes.none(columns), nothing, nothing, margin, digest)
