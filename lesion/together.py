"""Units cut together: what the network without them answers, on any of a subject's images."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from lesion.adapter import Adapter
from lesion.dissect import Dissection, dissect
from lesion.engine import Around, Cutting, Engine, One, Replay
from lesion.errors import EvidenceError, LesionError
from lesion.identity import matching
from lesion.measure import Measured, measure
from lesion.memory import SHARE, free, that_fit
from lesion.outcomes import EVALUATION, Intact, Outcomes
from lesion.plan import Joint
from lesion.preparing import FASTEST, engine_for, example_of
from lesion.recovered import Recovered, recovering
from lesion.recovery import Recover
from lesion.schedule import CHUNK
from lesion.study import Study
from lesion.subject import Subject, device_of, evaluating
from lesion.tally import Score


@dataclass(frozen=True, eq=False)
class Bench:
    """A study's subject, taken apart and ready to be cut anywhere.

    batch: how many images run at once; warnings: what differs from the study's environment
    """

    subject: Subject
    dissection: Dissection
    engine: Engine
    batch: int
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, study: Study, subject: Subject, recovery: str | Recover = "",
        memory: int | None = None,
    ) -> "Bench":  # fmt: skip
        """recovery: what each cut network goes through before it is scored, see `lesion.recovery`.

        Raises StudyError where the study is of another subject, EvidenceError where it is of whole
        evaluations, LesionError for a recovery that cannot be.
        """
        check_images(study)
        warnings = matching(study, subject)
        device = device_of(subject.network)
        room = memory or int(SHARE * free(device))
        with evaluating(subject.network):
            dissection = dissect(subject.network, subject.outputs, example_of(subject))
            intact = engine_for(subject, dissection)
            engine = recovering(intact, dissection, subject, recovery, room)
        batch = FASTEST.get(device.type, CHUNK)
        if isinstance(intact, Replay):
            batch = that_fit(intact.program, dissection.sizes, room // 2, batch)
        return cls(subject, dissection, engine, batch, tuple(warnings))

    def intact(self, images: Sequence[int]) -> Intact:
        """What the intact network makes of the images; its rows count from 0."""
        nothing: dict[Joint, np.ndarray] = {}
        parts = (found.intact for found in self._measured(nothing, images, None))
        return Intact.join((one for one in parts if one is not None), self.subject.tally.columns)

    def outcomes(
        self, cuts: Mapping[One, np.ndarray], images: Sequence[int], intact: Intact
    ) -> dict[One, Outcomes]:
        """What is left of the scores when each set of labels falls, in order of the images.

        cuts: for each name what falls, as booleans over all labels; intact: the images' own rows
        Raises LesionError where outputs are not finite.
        """
        if isinstance(self.engine, Recovered):
            self.engine.training.shun(intact.digest)
        found: dict[One, list[Outcomes]] = {one: [] for one in cuts}
        for measured in self._measured(cuts, images, intact):
            for reason in measured.failed.values():
                raise LesionError(f"Expected scores of the network with these rates, but {reason}.")
            for one, outcomes in measured.outcomes.items():
                found[one].append(outcomes)
        columns = self.subject.tally.columns
        return {one: Outcomes.join(parts, columns) for one, parts in found.items()}

    def around(self, dropped: np.ndarray) -> "Bench | None":
        """A bench for sets of cuts that differ in few units from the one of these labels.

        Their names tell the units in which they differ, and what falls with them is all that is
        gone. None where each set has to run as a whole.
        """
        if type(self.engine) is not Replay or self.subject.tally.beside:
            return None
        return replace(self, engine=Around(self.engine, dropped))

    @torch.no_grad()
    def _measured(
        self, cuts: Mapping[One, np.ndarray], images: Sequence[int], intact: Intact | None
    ) -> Iterator[Measured[One]]:
        starts = range(0, len(images), CHUNK)
        plan = [images[start : start + CHUNK] for start in starts]
        cuttings = {one: Cutting(dropped) for one, dropped in cuts.items()}
        with evaluating(self.subject.network):
            read = self.subject.images.batches(plan) if plan else iter(())
            for start, batch in zip(starts, read, strict=True):
                rows = np.arange(start, min(start + CHUNK, len(images)))
                known = None if intact is None else intact.prediction[rows]
                yield measure(
                    self.engine, self.dissection.call, self.subject, batch, rows, cuttings, known,
                    self.batch,
                )  # fmt: skip


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
    recovery: str | Recover = "",
    train: Any = None,
) -> Bench:
    """A study's network and images, ready to be cut anywhere.

    network, data: those that the study measured; score: where the study's is a function, that one
    recovery: what each cut network goes through before it is scored, such as "finetune:200"; train:
        its training images, none of them among those measured

    Raises StudyError where they are others, EvidenceError where the study has no images.
    """
    check_images(study)
    subject = Subject.of(
        network, data, adapter=adapter, train=train,
        score=score or str(study.header.settings.get("score", "top1")),
        preprocessing=study.header.subject.get("preprocessing", ""),
    )  # fmt: skip
    return Bench.of(study, subject, recovery)
