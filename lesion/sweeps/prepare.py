"""From a subject to a sweep that is ready to run."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lesion.compression.footprint import Saving
from lesion.engine.base import Engine
from lesion.errors import LesionError, StudyError, SubjectError, first_line
from lesion.lesions.damage import plan
from lesion.lesions.edits import Edit, Weight
from lesion.lesions.lesion import Lesion, Skipped, Target
from lesion.lesions.scores import norms
from lesion.network.dissection import Dissection
from lesion.study import error_shares
from lesion.study.aim import Aim
from lesion.study.study import Study
from lesion.subject.images import digests
from lesion.subject.network import device_of
from lesion.subject.subject import Subject, judged
from lesion.sweeps.choices import Choices
from lesion.sweeps.goals import Decide, Full, Goal
from lesion.sweeps.identity import open_study
from lesion.sweeps.loop import Sweep
from lesion.sweeps.runners import Runner
from lesion.sweeps.runners.here import Runner as Here
from lesion.sweeps.target_scores import TargetScores
from lesion.sweeps.workers import Opening, check_train


def prepare(
    subject: Subject,
    out: str | Path,
    choices: Choices | None = None,
    goal: Goal | None = None,
    *,
    images: int | None = None,
    memory: int | None = None,
    runner: Runner | None = None,
    reopen: Callable[[], Subject] | None = None,
) -> Sweep:
    """A sweep of a subject into the study at `out`, new or gone on with.

    goal: what is to be known, by default a verdict on one point
    images: use the first so many of the order, None for all; memory: bytes to use
    runner: where it is measured, by default here; reopen: gives the subject where that is another
        process, by default the subject itself is sent there
    Raises LesionError (its kinds) for choices or a subject that cannot be measured, and StudyError
    where the study is another subject's.
    """
    choices, goal = choices or Choices(), goal or Decide(Aim(column=judged(subject.score)))
    choices.check()
    goal.check()
    if images is not None and images < 1:
        raise LesionError(f"Expected at least one image, got {images}; leave it out for all.")
    check_train(subject, choices.sees)
    _steady(subject)
    worker = Opening(subject, choices.recovery, memory)()
    anatomy = worker.dissection.anatomy
    choices.kind.targets(anatomy, choices.units, choices.layers)  # refused before a file is made
    settings = {
        "order": choices.order,
        "estimand": choices.estimand,
        "seed": choices.seed,
        "holdout": choices.holdout,
        "source": choices.source,
    }
    study, warnings = open_study(
        Path(out), subject, anatomy, choices.seed, choices.holdout, settings
    )
    images = min(images or len(study.header.order), len(study.header.order))
    planning = Planning(study, worker.dissection, worker.engine, choices, subject)
    try:
        lesions = planning.planned(goal.aim, images)
    except BaseException:
        study.close()
        raise
    warnings += [subject.several] if subject.several else []
    warnings += [obstacle] if (obstacle := goal.obstacle(study, images)) else []
    weights = study.header.subject["weights"]
    opening = Opening(reopen or subject, choices.recovery, memory, weights=weights)
    if not isinstance(goal, Full):
        edits = {lesion.at: edit for lesion, edit in lesions.items()}
        opening = replace(opening, edits=tuple(edits.values()), images=images)
    opening.fit(worker)
    where = runner or Here()
    return Sweep(study, worker, opening, lesions, choices.kind, goal, images, where, warnings)


@contextmanager
def placed(network: nn.Module, device: str | None) -> Iterator[None]:
    """The network on a device, and afterwards where it was."""
    if device is None:
        yield
        return
    home = device_of(network)
    try:
        move(network, device)
        yield
    finally:
        network.to(home)


def move(network: nn.Module, device: str) -> None:
    """The network on a device. Raises SubjectError for one that torch cannot use here."""
    try:
        torch.zeros(1, device=device).cpu()  # "meta" takes numbers and does not give them back
        network.to(device)
    except (RuntimeError, AssertionError) as error:
        raise SubjectError(
            f"Expected a device that torch can use here, got '{device}': {first_line(error)}; "
            "give another, such as cpu, or leave it out."
        ) from error


def _steady(subject: Subject) -> None:
    """Raises SubjectError where two reads of the same images differ."""
    first = range(min(8, len(subject.images)))
    read, again = (digests(subject.images.batch(first), len(first)) for _ in range(2))
    if not np.array_equal(read, again):
        raise SubjectError(
            "Expected images that are the same at every read, but two reads of the first ones "
            "differ: every lesion must see the same images; take the random augmentation out."
        )


@dataclass(frozen=True, eq=False)
class Planning:
    """Lesions of a network, planned into a study.

    subject: None where there are no images that a criterion or a damage could see
    """

    study: Study
    dissection: Dissection
    engine: Engine
    choices: Choices
    subject: Subject | None = None

    def planned(self, aim: Aim | None = None, images: int = 0) -> dict[Lesion, Edit]:
        """The study's lesions of these choices, with what they do; adds what is new.

        aim, images: what is asked of them first, and of how many images; None where nothing is
            tested
        Raises SubjectError where there is none; the study then holds the reasons.
        """
        study, kind = self.study, self.choices.kind
        targets, tied = kind.targets(
            self.dissection.anatomy, self.choices.units, self.choices.layers
        )
        scored = TargetScores(study, self.dissection, self.choices, self.subject, targets)
        scored.check()
        known: dict[Target, np.ndarray | None] = {}
        edits, savings = dict[Lesion, Edit](), dict[Lesion, Saving | None]()
        unfit, without = list[Skipped](), list[Skipped]()
        for target in targets:
            try:
                scores = scored.of(target)
                lesions, nothing = plan(
                    self.dissection.anatomy,
                    {target: scores},
                    self.choices.amounts,
                    self.choices.settings,
                    kind,
                )
                made = {lesion: self._edit(lesion, scores) for lesion in lesions}
                idle = [lesion for lesion, edit in made.items() if self._idle(edit)]
            except LesionError as error:
                unfit.append(Skipped(target.name, target.kind, str(error)))
                continue
            known[target] = scores
            for lesion in idle:
                del made[lesion]
                reason = f"{kind.amounts.text(lesion.amount)}: it changes none of its weights"
                nothing.append(Skipped(target.name, target.kind, reason))
            edits |= made
            anatomy = self.dissection.anatomy
            savings |= {each: kind.footprint(anatomy, each, scores) for each in made}
            without += nothing
        self._add(edits, [*tied, *unfit, *without], aim, images)
        study.set_savings({lesion: saving for lesion, saving in savings.items() if saving})
        scored.keep(known)
        for layer, values in norms(self.dissection).items():
            study.set_norms(layer, values)
        _check_any(edits, [*unfit, *without, *tied])
        return edits

    def _edit(self, lesion: Lesion, scores: np.ndarray | None) -> Edit:
        """What a lesion does. Raises LesionError where that cannot be measured exactly."""
        edit = self.choices.kind.edit(self.dissection, lesion, scores)
        if reason := self.engine.obstacle(edit):
            raise LesionError(reason)
        return edit

    def _idle(self, edit: Edit) -> bool:
        """Whether it does nothing, as rounding does that has been done already."""
        parameters = self.dissection.graph.parameters
        return isinstance(edit, Weight) and edit.idle(parameters[edit.name])

    def _add(
        self, edits: Mapping[Lesion, Edit], skipped: list[Skipped], aim: Aim | None, images: int
    ) -> None:
        """Lesions into the study; those that cannot recover exactly have a reason at once."""
        study, kind, engine = self.study, self.choices.kind, self.engine
        kinds = {lesion.kind for lesion in edits}
        if kinds.intersection(("block", "stage", "network")) and not study.anatomy.blocks:
            raise StudyError(
                f"Expected a study that knows the network's blocks, but {study.path} was made "
                "before they were kept: name a new study file."
            )
        if engine.recovery in study.recoveries:  # refused if the training images are others
            study.set_recovery(engine.recovery, engine.images)
        if kind.name != "filters":
            study.set_damage(kind.name, kind.amounts)
            skipped = [each.by(kind.name) for each in skipped]
        if aim:
            error_shares.planned(study, list(edits), aim, images)
        study.add(edits, skipped)
        for lesion, edit in edits.items():
            if reason := engine.hindrance(edit):
                study.fail(lesion, reason)


def _check_any(lesions: Collection[Lesion], skipped: Sequence[Skipped]) -> None:
    """Raises SubjectError where nothing of what was chosen can be measured, with a reason."""
    if lesions:
        return
    if not skipped:
        raise SubjectError(
            "Expected a convolution or linear layer, but none runs in this network; give another."
        )
    first, more = skipped[0], len(skipped) - 1
    rest = f" (and {more} more, see `lesion curves`)" if more else ""
    raise SubjectError(
        f"Expected a layer that can be cut, got none: {first.target}: {first.reason}{rest}; choose "
        "other layers, units or ratios."
    )
