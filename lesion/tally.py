"""From logits to outcomes: what of an image's answer is kept."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from lesion.outcomes import Intact, Outcomes


@dataclass(frozen=True, eq=False)
class Answer:
    """A network's answer to n images: predictions, ranks of the labels, summed loss.

    finite: whether all logits are numbers
    """

    prediction: np.ndarray
    rank: np.ndarray
    loss: float
    finite: bool

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor) -> "Answer":
        """The answer in logits (n, classes) to images with int64 labels (n,).

        The prediction is the first of the largest logits; a label's rank is how many logits are
        larger than its own, so that ties count for it (but not in top-1, which is the prediction).
        """
        logits = logits.float()
        own = logits.gather(1, labels[:, None])
        return cls(
            prediction=logits.argmax(1).cpu().numpy(),
            rank=(logits > own).sum(1).cpu().numpy(),
            loss=float(F.cross_entropy(logits.double(), labels, reduction="sum")),
            finite=bool(logits.isfinite().all()),
        )

    @classmethod
    def join(cls, parts: "list[Answer]") -> "Answer":
        """The answers to consecutive images as one."""
        return cls(
            np.concatenate([part.prediction for part in parts]),
            np.concatenate([part.rank for part in parts]),
            sum(part.loss for part in parts),
            all(part.finite for part in parts),
        )

    def outcomes(self, labels: np.ndarray, intact: np.ndarray) -> Outcomes:
        """Scored against the labels and the intact network's predictions."""
        return Outcomes(
            top1=self.prediction == labels,
            top5=self.rank < 5,
            agreement=self.prediction == intact,
            loss=self.loss,
        )


def margins(logits: Tensor, labels: Tensor) -> np.ndarray:
    """The label's logit minus the best other logit, float32 (n,); positive where right.

    >>> import torch
    >>> margins(torch.tensor([[3.0, 1.0], [0.5, 2.0]]), torch.tensor([0, 0])).tolist()
    [2.0, -1.5]
    """
    own = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], float("-inf"))
    margin: np.ndarray = (own[:, 0] - others.max(1).values).float().cpu().numpy()
    return margin


def intact(answer: Answer, labels: np.ndarray, margin: np.ndarray) -> Intact:
    """The intact network's record of a chunk."""
    own = answer.outcomes(labels, answer.prediction)
    return Intact(own, labels, answer.prediction, margin)
