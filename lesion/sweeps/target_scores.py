"""What is known of targets before their lesions are planned: scores, or what layers read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from lesion.errors import SubjectError
from lesion.lesions.criteria import Weights, criterion
from lesion.lesions.lesion import Target
from lesion.lesions.scores import Scorer
from lesion.network.dissection import Dissection
from lesion.study.study import Study
from lesion.subject.subject import Subject
from lesion.subject.training_images import Training
from lesion.sweeps.calibrate import BATCH, Calibration
from lesion.sweeps.choices import Choices
from lesion.sweeps.observe import apart
from lesion.sweeps.removals import shown


@dataclass(frozen=True, eq=False)
class TargetScores:
    """The scores of targets by a criterion, or what a damage keeps of what they read.

    What was seen of images is taken from the study, which keeps it for good.

    subject: None where there are no images to be seen
    """

    study: Study
    dissection: Dissection
    choices: Choices
    subject: Subject | None
    targets: Sequence[Target]

    def check(self) -> None:
        """Raises LesionError for what is wrong with a criterion, or with calibration images, and is
        no reason of one target."""
        kind = self.choices.kind
        missing = any(self._held(target) is None for target in self.targets)
        if kind.scored and missing:
            self._scorer  # noqa: B018
        if kind.images and (missing or (self.subject and self.subject.train)):
            self._training  # noqa: B018  # others are refused, needed or not
        if kind.images and missing:
            self._calibration  # noqa: B018

    def of(self, target: Target) -> np.ndarray | None:
        """A target's, None where nothing is asked for.

        Raises LesionError where there are none; its text is the reason.
        """
        kind = self.choices.kind
        if not self._named:
            return self._weight(target) if kind.weighs else None
        held = self._held(target)
        if held is not None:
            return held
        if kind.images:
            return self._calibration.numbers(kind, target)
        return self._scorer.scores(target)

    def keep(self, known: Mapping[Target, np.ndarray | None]) -> None:
        """Into the study, for good."""
        for target, scores in known.items():
            if scores is not None and self._named:
                seed = self.choices.seed
                self.study.set_scores(target.name, target.kind, self._named, seed, scores)

    def _weight(self, target: Target) -> np.ndarray:
        """A layer's weight as the network holds it."""
        parameters = self.dissection.graph.parameters
        weight = parameters[self.dissection.anatomy.layer[target.name].weight].detach().cpu()
        return (weight if weight.dtype == torch.float64 else weight.float()).numpy()

    @property
    def _named(self) -> str:
        """Under which name a study has them, "" where nothing is asked for."""
        kind = self.choices.kind
        return kind.name if kind.images else self.choices.settings.criterion if kind.scored else ""

    def _held(self, target: Target) -> np.ndarray | None:
        """Those that the study holds, if images were seen: they are the same whether or not these
        are seen again."""
        if not self.choices.kind.images and criterion(self.choices.criterion).needs == "weights":
            return None
        return self.study.scores(target.name, target.kind, self._named, self.choices.seed)

    @cached_property
    def _scorer(self) -> Scorer:
        chosen, seed = criterion(self.choices.criterion), self.choices.seed
        if isinstance(chosen, Weights) or chosen.needs == "weights":
            return Scorer(self.dissection, chosen, seed)
        if self.subject is None:
            raise SubjectError(
                f"Expected a criterion of weights where no images are scored, got {chosen.name}; "
                "choose l1, or another of them."
            )
        training = Training.of(self.subject, f"criterion {chosen.name}")
        training.shun(apart(self.study, self.subject))
        reasons = shown(chosen, self.subject, self.dissection, training, self.targets, seed)
        count = training.count(chosen.batch, chosen.images)
        self.study.set_criterion(chosen.name, f"{count} of {training.identity}")
        return Scorer(self.dissection, chosen, seed, reasons)

    @cached_property
    def _training(self) -> Training:
        """The calibration images, which are those of the study, if it knows any."""
        name = self.choices.kind.name
        if self.subject is None:
            raise SubjectError(
                f"Expected a damage of weights where no images are scored, got {name}; choose "
                "quantise, or another of them."
            )
        training = Training.of(self.subject, f"damage {name}")
        if f"damage {name}" in self.study.criteria:
            self._set_images(training)
        return training

    @cached_property
    def _calibration(self) -> Calibration:
        assert self.subject is not None
        self._training.shun(apart(self.study, self.subject))
        layers = [target.name for target in self.targets]
        kind, seed = self.choices.kind, self.choices.seed
        seen = Calibration.of(self.dissection, self._training, layers, kind, seed)
        self._set_images(self._training)  # not before none of them was refused
        return seen

    def _set_images(self, training: Training) -> None:
        """Raises StudyError where the study knows others."""
        kind = self.choices.kind
        count = training.count(BATCH, kind.images)
        self.study.set_criterion(f"damage {kind.name}", f"{count} of {training.identity}")
