"""A sweep under way: it measures and saves as it is iterated."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lesion.dissect import Dissection
from lesion.engine import Cutting, Engine
from lesion.goals import Goal
from lesion.images import digests
from lesion.ledger import check_digests, check_scored
from lesion.measure import Measured, measure
from lesion.outcomes import Intact
from lesion.plan import Lesion, Target
from lesion.recovered import Recovered, remember
from lesion.schedule import Work, in_order
from lesion.study import Study
from lesion.subject import Subject, evaluating


@dataclass(frozen=True)
class Progress:
    """How far a sweep is: lesioned answers given, and how many it takes in all, about."""

    done: int
    total: int


@dataclass(eq=False)
class Sweep:
    """A sweep ready to run.  Iterating measures and saves some images at a time.

    goal: what is to be known of the lesions; images: how many of the order may be used
    batch: how many run at once; first: and in the intact network's first pass
    warnings: what differs from the study's first environment
    over: asked after each replay whether to stop there; what is measured by then is saved
    """

    study: Study
    subject: Subject
    dissection: Dissection
    engine: Engine
    lesions: dict[Lesion, np.ndarray]
    goal: Goal
    images: int
    batch: int
    first: int
    warnings: list[str] = field(default_factory=list)
    over: Callable[[], bool] = field(default=lambda: False, repr=False)
    _intact: Intact | None = field(default=None, repr=False)
    _resumed: bool = field(default=False, repr=False)

    def __iter__(self) -> Iterator[Progress]:
        done, self._resumed = 0, self.study.images > 0
        with evaluating(self.subject.network):
            for work in self._before():
                done += work.passes
                yield Progress(done, self.images * (1 + len(self.lesions)))
                if self.over():
                    return
            groups = self._groups()
            for place, group in enumerate(groups):
                before = done
                for round in self.goal.rounds(self.study, group, self.images):
                    for work in self._works(round.works):
                        done += work.passes
                        total = before + round.total * (len(groups) - place)
                        yield Progress(done, max(done, total))
                        if self.over():
                            return

    def _before(self) -> Iterator[Work]:
        """Before a network may recover: which images are scored, by the intact one's pass."""
        if isinstance(self.engine, Recovered):
            yield from self._works(in_order({}, self.images, self.study.images))
            self.engine.training.shun(self.study.intact().digest)

    def _groups(self) -> list[list[Lesion]]:
        """The lesions that are measured side by side; recovered ones by target, as copies fit."""
        if not isinstance(self.engine, Recovered):
            return [list(self.lesions)]
        own: dict[Target, list[Lesion]] = {}
        for lesion in self.lesions:
            own.setdefault(lesion.at, []).append(lesion)
        most = self.engine.together
        return [some[at : at + most] for some in own.values() for at in range(0, len(some), most)]

    def _works(self, works: Iterable[Work]) -> Iterator[Work]:
        """Each work once it is measured and saved."""
        works, order = list(works), self.study.header.order
        plan = [[order[at] for at in work.images] for work in works]
        for work, images in zip(works, self.subject.images.batches(plan), strict=True):
            self._measure(work, images)
            yield work

    def _measure(self, work: Work, images: Any) -> None:
        failed, known = self.study.failed, self._predictions(work, images)
        cuts = {
            one: Cutting(self.lesions[one], _rows(work.images, own))
            for one, own in work.lesions.items()
            if one not in failed
        }
        if known is not None and self._resumed:
            self._check(work, images)
        batch = self.first if known is None else self.batch
        found = measure(
            self.engine,
            self.dissection.call,
            self.subject,
            images,
            work.images,
            cuts,
            known,
            batch,
            self.over,
        )
        if found.outcomes:
            remember(self.study, self.engine)
        self.study.record(found.outcomes, found.intact)
        for lesion, reason in found.failed.items():
            self.study.fail(lesion, reason)

    def _check(self, work: Work, images: Any) -> None:
        """Raises StudyError where the intact network is scored otherwise than the study says."""
        self._resumed = False
        call = self.dissection.call
        now: Measured[Lesion] = measure(
            self.engine, call, self.subject, images, work.images, {}, None, self.first
        )
        assert self._intact is not None and now.intact is not None
        check_scored(self._intact.take(work.images), now.intact)

    def _predictions(self, work: Work, images: Any) -> np.ndarray | None:
        """The intact network's predictions, None where it has not seen the images yet."""
        if self._intact is None or work.images[-1] >= len(self._intact):
            self._intact = self.study.intact()
        if work.images[-1] >= len(self._intact):
            return None
        rows = self._intact.take(work.images)
        check_digests(rows.digest, digests(images, len(work.images)), work.images)
        return rows.prediction


def _rows(images: np.ndarray, own: np.ndarray) -> np.ndarray | None:
    """Where a lesion's images stand among those read, None for all of them."""
    return None if len(own) == len(images) else np.searchsorted(images, own)


def exhausted(
    steps: Iterable[Progress], study: Study, progress: Callable[[Progress], None] | None
) -> Study:
    """The study once all steps are taken; it is closed where one of them raises."""
    try:
        for step in steps:
            if progress:
                progress(step)
    except BaseException:
        study.close()
        raise
    return study
