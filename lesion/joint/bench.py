"""Units cut together: what the network without them answers, on any of a subject's images."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import nn

from lesion.engine.base import Cut, Engine
from lesion.engine.retrain import Recover
from lesion.errors import EvidenceError, LesionError
from lesion.lesions.edits import Edit
from lesion.lesions.lesion import Joint
from lesion.lesions.mixed_edit import Known, mixed_edit, nothing
from lesion.network.dissection import Dissection
from lesion.rates.allocation import Allocation
from lesion.study.study import Study
from lesion.subject.adapter import Adapter
from lesion.subject.outcomes import EVALUATION, Intact, Outcomes
from lesion.subject.scores import Score
from lesion.subject.subject import Subject
from lesion.sweeps.identity import matching
from lesion.sweeps.measure import Measured, Task, Worker
from lesion.sweeps.observe import scored
from lesion.sweeps.runners import Runner
from lesion.sweeps.runners.here import Runner as Here
from lesion.sweeps.work import CHUNK
from lesion.sweeps.workers import Opening, check_train
from lesion.words import grouped


@dataclass(frozen=True, eq=False)
class Bench:
    """A study's subject, ready to be cut anywhere.

    worker: that of this process; opening: what opens others, for runners elsewhere
    warnings: what differs from the study's environment
    known: what the study keeps of a lesion's target, for damages that see images
    """

    worker: Worker
    opening: Opening
    runner: Runner = field(default_factory=Here)
    warnings: tuple[str, ...] = ()
    known: Known = nothing

    @classmethod
    def of(
        cls,
        study: Study,
        subject: Subject,
        recovery: str | Recover = "",
        memory: int | None = None,
        runner: Runner | None = None,
    ) -> "Bench":
        """recovery: what each cut network goes through before it is scored, see
        `lesion.engine.recovery`.

        Raises StudyError where the study is of another subject, EvidenceError where it is of whole
        evaluations, LesionError for a recovery that cannot be.
        """
        check_images(study)
        warnings = matching(study, subject)
        check_train(subject, bool(recovery))
        avoid = scored(study, subject) if recovery else None
        opening = Opening(subject, recovery, memory, avoid=avoid)
        return cls(opening(), opening, runner or Here(), tuple(warnings), study.known)

    def __repr__(self) -> str:
        network, images = type(self.subject.network).__name__, len(self.subject.images)
        after = f", after {self.engine.recovery}" if self.engine.recovery else ""
        return f"<Bench of {network}: {grouped(images)} images{after}>"

    @property
    def subject(self) -> Subject:
        """What is measured."""
        return self.worker.subject

    @property
    def dissection(self) -> Dissection:
        """Its network, traced."""
        return self.worker.dissection

    @property
    def engine(self) -> Engine:
        """What it is measured with."""
        return self.worker.engine

    def intact(self, images: Sequence[int]) -> Intact:
        """What the intact network makes of the images; its rows count from 0."""
        parts = (measured.intact for measured in self._measured({}, images, None))
        columns = self.subject.tally.columns
        return Intact.join((part for part in parts if part is not None), columns)

    def edit(self, allocation: Allocation) -> Edit:
        """What rates do to the network.

        Raises LesionError where weights change and the network is to recover, which would change
        them again.
        """
        target = Joint(tuple(rate.unit for rate in allocation.cut)).at
        gone = allocation.dropped(self.dissection.anatomy)
        if not allocation.weights:
            return self.engine.edit(target, gone)
        if self.engine.recovery:
            allocation.check_filters(f"recovery by {self.engine.recovery}")
        return mixed_edit(self.dissection, target, gone, allocation.changes, self.known)

    def outcomes(
        self, cuts: Mapping[Joint, np.ndarray | Edit], images: Sequence[int], intact: Intact
    ) -> dict[Joint, Outcomes]:
        """What is left of the scores when each set of labels falls, in order of the images.

        cuts: for each name what falls, as booleans over all labels, or an edit; intact: the images'
            own rows
        Raises LesionError where outputs are not finite.
        """
        bench = self._avoiding(intact.digest)
        parts: dict[Joint, list[Outcomes]] = {joint: [] for joint in cuts}
        for measured in bench._measured(cuts, images, intact):
            for reason in measured.failed.values():
                raise LesionError(f"Expected scores of the network with these rates, but {reason}.")
            for joint, outcomes in measured.outcomes.items():
                parts[joint].append(outcomes)
        columns = self.subject.tally.columns
        return {joint: Outcomes.join(chunks, columns) for joint, chunks in parts.items()}

    def _avoiding(self, measured: np.ndarray) -> "Bench":
        """The same where images that are measured are no training images either."""
        if self.opening.avoid is None:
            return self
        avoid = np.union1d(self.opening.avoid, measured)
        self.engine.avoid(avoid)
        return replace(self, opening=replace(self.opening, avoid=avoid))

    def around(self, dropped: np.ndarray) -> "Bench | None":
        """A bench for sets of cuts that differ in few units from the one of these labels.

        Their names tell the units in which they differ, and what falls with them is all that is
        gone. None where each set has to run as a whole.
        """
        engine = None if self.subject.tally.beside else self.engine.around(dropped)
        if engine is None:
            return None
        return replace(self, worker=replace(self.worker, engine=engine), runner=Here())

    def _measured(
        self, cuts: Mapping[Joint, np.ndarray | Edit], images: Sequence[int], intact: Intact | None
    ) -> Iterator[Measured[Joint]]:
        edits = {
            joint: Cut(self.engine.edit(joint.at, cut) if isinstance(cut, np.ndarray) else cut)
            for joint, cut in cuts.items()
        }
        tasks: list[Task[Joint]] = []
        for start in range(0, len(images), CHUNK):
            rows = np.arange(start, min(start + CHUNK, len(images)))
            known = None if intact is None else intact.prediction[rows]
            tasks.append(Task(images[start : start + CHUNK], rows, edits, known))
        here = isinstance(self.runner, Here)
        results = self.runner.run(tasks, (lambda: self.worker) if here else self.opening)
        return (measured for _, measured in results)


def check_images(study: Study) -> None:
    """Raises EvidenceError for a study of whole evaluations, which says nothing of images."""
    if EVALUATION in study.header.columns:
        raise EvidenceError(
            f"Expected a study whose images have scores, to measure rates on, but {study.path} "
            "holds whole evaluations; apply the rates (lesion apply) and evaluate that network."
        )


def bench(
    study: Study,
    network: nn.Module,
    data: Any,
    *,
    score: str | Score | None = None,
    adapter: Adapter | None = None,
    recover: str | Recover = "",
    train: Any = None,
) -> Bench:
    """A study's network and images, ready to be cut anywhere.

    network, data: those that the study measured; score: where the study's is a function, that one
    recover: what each cut network goes through before it is scored, such as "finetune:200"; train:
        its training images, none of them among those measured

    Raises StudyError where they are others, EvidenceError where the study has no images.
    """
    check_images(study)
    subject = Subject.of(
        network,
        data,
        adapter=adapter,
        train=train,
        score=score or study.header.setting("score"),
        preprocessing=study.header.subject.get("preprocessing", ""),
    )
    return Bench.of(study, subject, recover)
