"""A sweep under way: it measures and saves as it is iterated."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np

from lesion.engine.base import Cut
from lesion.lesions.damage import Damage
from lesion.lesions.edits import Edit
from lesion.lesions.lesion import Lesion, Target
from lesion.study.study import Study
from lesion.subject.outcomes import Intact
from lesion.sweeps.goals import Goal
from lesion.sweeps.measure import Measured, Task, Worker
from lesion.sweeps.observe import scored
from lesion.sweeps.progress import Progress
from lesion.sweeps.runners import Runner
from lesion.sweeps.runners.here import Runner as Here
from lesion.sweeps.work import Work, in_order
from lesion.sweeps.workers import Opening


@dataclass(eq=False)
class Sweep:
    """A sweep ready to run.  Iterating measures and saves some images at a time.

    worker: that of this process; opening: what opens others, for runners elsewhere
    lesions: each with what it does; damage: the kind of all, which says what each saves
    goal: what is to be known of the lesions; images: how many of the order may be used
    warnings: what differs from the study's first environment
    over: asked after each replay whether to stop there; what is measured by then is saved
    """

    study: Study
    worker: Worker
    opening: Opening
    lesions: Mapping[Lesion, Edit]
    damage: Damage
    goal: Goal
    images: int
    runner: Runner = field(default_factory=Here)
    warnings: list[str] = field(default_factory=list)
    over: Callable[[], bool] = field(default=lambda: False, repr=False)
    _intact: Intact | None = field(default=None, repr=False)
    _again: bool = field(default=False, repr=False)

    @property
    def batch(self) -> int:
        """How many images run at once, the intact network's first pass apart."""
        return self.worker.batches.later

    def __iter__(self) -> Iterator[Progress]:
        done, self._again = 0, self.study.images > 0
        self.worker.over = self.over
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
        """Before a network may recover: which images it may not see, those kept back as well."""
        if self.worker.engine.recovery:
            yield from self._works(in_order({}, self.images, self.study.images))
            avoid = scored(self.study, self.worker.subject)
            self.worker.engine.avoid(avoid)
            self.opening = replace(self.opening, avoid=avoid)

    def _groups(self) -> list[dict[Lesion, float]]:
        """The lesions that are measured side by side, with what they save; those of an engine that
        has few edited networks at once by target, as they fit."""
        anatomy, most = self.study.anatomy, self.worker.engine.together
        gains = {lesion: self.damage.saving(anatomy, lesion) for lesion in self.lesions}
        if most is None:
            return [gains]
        targets: dict[Target, list[Lesion]] = {}
        for lesion in gains:
            targets.setdefault(lesion.at, []).append(lesion)
        parts = chain.from_iterable(_parts(lesions, most) for lesions in targets.values())
        return [{lesion: gains[lesion] for lesion in part} for part in parts]

    def _works(self, works: Iterable[Work]) -> Iterator[Work]:
        """Each work once it is measured and saved."""
        works = list(works)
        tasks = [self._task(work) for work in works]
        results = self.runner.run(tasks, self._open)
        for work, (_, measured) in zip(works, results, strict=True):
            self._record(measured)
            yield work

    @property
    def _open(self) -> Callable[[], Worker]:
        """What opens a worker: here the one that is open already."""
        return (lambda: self.worker) if isinstance(self.runner, Here) else self.opening

    def _task(self, work: Work) -> Task[Lesion]:
        failed, recorded = self.study.failed, self._recorded(work.images)
        cuts = {
            lesion: Cut(self.lesions[lesion], _rows(work.images, positions))
            for lesion, positions in work.lesions.items()
            if lesion not in failed
        }
        again = recorded is not None and self._again
        self._again = self._again and not again
        order = self.study.header.order
        images = [order[position] for position in work.images]
        known = None if recorded is None else recorded.prediction
        return Task(images, work.images, cuts, known, recorded, again)

    def _recorded(self, positions: np.ndarray) -> Intact | None:
        """The intact network's rows, None where it has not seen all of the images yet."""
        if self._intact is None or positions[-1] >= len(self._intact):
            self._intact = self.study.intact()
        return None if positions[-1] >= len(self._intact) else self._intact.take(positions)

    def _record(self, measured: Measured[Lesion]) -> None:
        engine, failed = self.worker.engine, self.study.failed
        outcomes = {key: value for key, value in measured.outcomes.items() if key not in failed}
        if outcomes and engine.recovery:
            self.study.set_recovery(engine.recovery, engine.images)
        self.study.record(outcomes, measured.intact)
        for lesion, reason in measured.failed.items():
            self.study.fail(lesion, reason)


def _parts(lesions: Sequence[Lesion], most: int) -> Iterator[Sequence[Lesion]]:
    for start in range(0, len(lesions), most):
        yield lesions[start : start + most]


def _rows(images: np.ndarray, wanted: np.ndarray) -> np.ndarray | None:
    """Where a lesion's images stand among those read, None for all of them."""
    return None if len(wanted) == len(images) else np.searchsorted(images, wanted)
