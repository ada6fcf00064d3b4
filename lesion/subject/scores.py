"""From outputs to scores: what of a network's answer to an image is kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lesion.errors import SubjectError, first_line
from lesion.subject.batch import describe
from lesion.subject.outcomes import TYPES, Intact, Outcomes

Answers = dict[str, np.ndarray]
Score = Callable[[Tensor, Any], Any]
LARGEST = float(np.finfo(np.float16).max)


class Tally(Protocol):
    """Knows which columns are kept of an image, and how they come from the outputs.

    columns: their names; beside: whether the intact network's outputs are needed for them
    """

    @property
    def columns(self) -> tuple[str, ...]: ...

    @property
    def beside(self) -> bool: ...

    def answers(self, outputs: Tensor, targets: Any, intact: Tensor | None) -> Answers:
        """What is kept of the outputs (N, …), by name one row an image; "finite" among it."""

    def margin(self, outputs: Tensor, targets: Any) -> np.ndarray:
        """How sure the intact network's outputs are, one number an image."""

    def outcomes(self, answers: Answers, images: np.ndarray, known: Answers) -> Outcomes:
        """Answers as scores, beside what is known of the intact network on the same images."""

    def intact(self, answers: Answers, images: np.ndarray, digest: np.ndarray) -> Intact:
        """The intact network's own answers as its rows."""


@dataclass(frozen=True)
class Classification:
    """Logits (N, classes): hits, loss and margin where there are labels, agreement, variation.

    The prediction is the first of the largest logits; a label's rank is how many logits are larger
    than its own, so that ties count for it (but not in top-1, which is the prediction).  One logit
    an image tells two classes apart by its sign, the second above 0: it stands beside a 0.
    """

    labelled: bool = True
    variation: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        with_labels = ("top1", "top5", "agreement", "loss", "margin")
        columns = with_labels if self.labelled else ("agreement",)
        return (*columns, "tv") if self.variation else columns

    @property
    def beside(self) -> bool:
        return self.variation

    def answers(self, outputs: Tensor, targets: Any, intact: Tensor | None) -> Answers:
        outputs = two_classes(outputs)
        logits = outputs.float()
        answers = {"prediction": logits.argmax(1), "finite": logits.isfinite().all(1)}
        if self.labelled:
            of_label = logits.gather(1, targets[:, None])
            loss = F.cross_entropy(logits.double(), targets, reduction="none")
            answers["rank"], answers["loss"] = (logits > of_label).sum(1), loss.clamp(max=LARGEST)
            answers["margin"] = margins(logits, targets)
            answers["label"] = targets
        if self.variation:
            intact = outputs if intact is None else two_classes(intact)
            both = [x.double().softmax(1) for x in (logits, intact)]
            answers["tv"] = 1 - (both[0] - both[1]).abs().sum(1) / 2
        return {name: value.cpu().numpy() for name, value in answers.items()}

    def margin(self, outputs: Tensor, targets: Any) -> np.ndarray:
        outputs = two_classes(outputs)
        labels = targets if self.labelled else outputs.argmax(1)
        return margins(outputs.float(), labels).cpu().numpy()

    def outcomes(self, answers: Answers, images: np.ndarray, known: Answers) -> Outcomes:
        columns = {"agreement": answers["prediction"] == known["prediction"]}
        if self.labelled:
            columns["top1"] = answers["prediction"] == answers["label"]
            columns["top5"] = answers["rank"] < 5
            columns["loss"] = answers["loss"]
            columns["margin"] = answers["margin"].clip(-LARGEST, LARGEST)
        if self.variation:
            columns["tv"] = answers["tv"].clip(0, 1)
        return Outcomes(images, {name: columns[name].astype(TYPES[name]) for name in self.columns})

    def intact(self, answers: Answers, images: np.ndarray, digest: np.ndarray) -> Intact:
        label = answers.get("label", np.full(len(images), -1))
        return Intact(
            outcomes=self.outcomes(answers, images, answers),
            label=label,
            prediction=answers["prediction"],
            margin=answers["margin"].astype(np.float32),
            digest=digest,
        )


@dataclass(frozen=True)
class Given:
    """A user's own `score(outputs, targets)`: one value from 0 to 1 an image."""

    score: Score
    columns: tuple[str, ...] = field(default=("score",), init=False)
    beside: bool = field(default=False, init=False)

    def answers(self, outputs: Tensor, targets: Any, intact: Tensor | None) -> Answers:
        finite = outputs.reshape(len(outputs), -1).isfinite().all(1).cpu().numpy()
        return {"score": self._checked(outputs, targets, finite), "finite": finite}

    def margin(self, outputs: Tensor, targets: Any) -> np.ndarray:
        return np.full(len(outputs), np.nan, np.float32)

    def _checked(self, outputs: Tensor, targets: Any, finite: np.ndarray) -> np.ndarray:
        scores = self._called(outputs, targets)
        if scores.shape != (len(outputs),):
            raise SubjectError(
                f"Expected one score an image, {len(outputs)} in all, got an array of shape "
                f"{scores.shape}: let the score function return a value for each image."
            )
        wrong = finite & ~((scores >= 0) & (scores <= 1))
        if wrong.any():
            raise SubjectError(
                f"Expected scores from 0 to 1, got {scores[wrong][0]:g}: scale what the score "
                "function returns, larger being better."
            )
        return scores

    def _called(self, outputs: Tensor, targets: Any) -> np.ndarray:
        try:
            scores = self.score(outputs, targets)
        except Exception as error:  # the function is the user's: it may raise anything
            raise SubjectError(
                f"Expected a score function that takes outputs of shape {tuple(outputs.shape)} "
                f"and their targets ({describe(targets)}), but it raised {type(error).__name__}: "
                f"{first_line(error)}; mend the function."
            ) from error
        try:
            return torch.as_tensor(scores).detach().cpu().double().numpy()
        except (TypeError, ValueError, RuntimeError) as error:
            raise SubjectError(
                f"Expected one score an image, {len(outputs)} in all, got {describe(scores)}: let "
                "the score function return a value for each image."
            ) from error

    def outcomes(self, answers: Answers, images: np.ndarray, known: Answers) -> Outcomes:
        return Outcomes(images, {"score": answers["score"].astype(TYPES["score"])})

    def intact(self, answers: Answers, images: np.ndarray, digest: np.ndarray) -> Intact:
        none = np.full(len(images), -1)
        outcomes = self.outcomes(answers, images, answers)
        return Intact(outcomes, none, none, answers["margin"], digest)


def two_classes(logits: Tensor) -> Tensor:
    """Logits (n, classes); a single one beside 0, which gives its sigmoid as the softmax.

    >>> two_classes(torch.tensor([[3.0], [-1.0]])).tolist()
    [[0.0, 3.0], [0.0, -1.0]]
    """
    return F.pad(logits, (1, 0)) if logits.shape[1] == 1 else logits


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """The label's logit minus the best other logit, (n,); positive where right.

    >>> margins(torch.tensor([[3.0, 1.0], [0.5, 2.0]]), torch.tensor([0, 0])).tolist()
    [2.0, -1.5]
    """
    of_label = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], float("-inf"))
    return of_label[:, 0] - others.max(1).values


def joined(parts: Sequence[Answers]) -> Answers:
    """The answers to consecutive images as one."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
