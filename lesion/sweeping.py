"""The sweep: from a subject to a study, chunk by chunk, saved as it goes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lesion.adapter import Adapter, moved
from lesion.aim import Aim
from lesion.criteria import criterion as known_criterion
from lesion.dissect import Dissection, dissect
from lesion.engine import Cutting, Engine, Replay
from lesion.errors import LesionError, SubjectError, first_line
from lesion.goals import Decide, Full, Goal, aimed
from lesion.hooks import Whole
from lesion.identity import HOLDOUT, check_holdout, open_study
from lesion.images import digests
from lesion.ledger import check_digests
from lesion.measure import measure
from lesion.memory import SHARE, free, parse, that_fit
from lesion.outcomes import Intact
from lesion.plan import RATIOS, Lesion, Skipped, Target, check_ratios, dropped, plan, targets
from lesion.recovered import Recovered, hinder, recovering, remember
from lesion.recovery import Recover
from lesion.recovery import parse as known_recovery
from lesion.schedule import CHUNK, TOGETHER, Work, in_order
from lesion.scoring import of_layer, scores
from lesion.study import Study
from lesion.subject import Subject, device_of, evaluating, judged
from lesion.tally import Score

SAME, CLOSE = 1e-4, 1e-2  # of the outputs' scale: float32 sums in another order; fewer digits
FASTEST = {"cpu": 32}  # images at once where more would fit: these stay in the cache


@dataclass(frozen=True)
class Choices:
    """What to measure.

    ratios: pruning ratios in (0, 1); criterion: which filters go first; units: "free" or "all"
    layers: patterns of layer names, none for all; rounding: "floor-kept" or "nearest"
    seed: of the images' order, the images kept back, and criteria that draw
    holdout: share of the images kept back for checking advice, in [0, 1)
    order: "margin" looks first where the intact network hesitates, "uniform" at images at random
    estimand: what a drop is of: this evaluation "set", or the "population" that it is drawn from
        (for which the order is uniform)
    recovery: what a lesioned network goes through before it is scored, see `lesion.recovery.parse`;
        "" for nothing
    """

    ratios: Sequence[float] = RATIOS
    criterion: str = "l1"
    units: str = "free"
    layers: Sequence[str] = ()
    rounding: str = "floor-kept"
    seed: int = 0
    holdout: float = HOLDOUT
    order: str = "margin"
    estimand: str = "set"
    recovery: str | Recover = ""

    def check(self) -> None:
        """Raises LesionError for what cannot be, before any work."""
        if self.order not in ("margin", "uniform"):
            raise LesionError(f"Expected the order margin or uniform, got '{self.order}'.")
        if self.estimand not in ("set", "population"):
            raise LesionError(f"Expected the estimand set or population, got '{self.estimand}'.")
        check_ratios(self.ratios, self.rounding)
        known_criterion(self.criterion)
        check_holdout(self.holdout)
        if self.recovery:
            known_recovery(self.recovery)


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
    _intact: Intact | None = field(default=None, repr=False)

    def __iter__(self) -> Iterator[Progress]:
        done = 0
        with evaluating(self.subject.network):
            for work in self._before():
                done += work.passes
                yield Progress(done, self.images * (1 + len(self.lesions)))
            groups = self._groups()
            for place, group in enumerate(groups):
                before = done
                for round in self.goal.rounds(self.study, group, self.images):
                    for work in self._works(round.works):
                        done += work.passes
                        total = before + round.total * (len(groups) - place)
                        yield Progress(done, max(done, total))

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
            own.setdefault(Target(lesion.target, lesion.kind), []).append(lesion)
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
        batch = self.first if known is None else self.batch
        found = measure(
            self.engine, self.dissection.call, self.subject, images, work.images, cuts, known, batch
        )
        if found.outcomes:
            remember(self.study, self.engine)
        self.study.record(found.outcomes, found.intact)
        for lesion, reason in found.failed.items():
            self.study.fail(lesion, reason)

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


def prepare(
    subject: Subject,
    out: str | Path,
    choices: Choices | None = None,
    goal: Goal | None = None,
    *,
    limit: int | None = None,
    budget: int | None = None,
) -> Sweep:
    """A sweep of a subject into the study at `out`, new or gone on with.

    goal: what is to be known, by default a verdict on one point
    limit: use the first so many images of the order, None for all; budget: bytes to use.
    Raises LesionError (its kinds) for choices or a subject that cannot be measured, and StudyError
    where the study is another subject's.
    """
    choices, goal = choices or Choices(), goal or Decide(Aim(column=judged(subject.score)))
    choices.check()
    goal.check()
    if limit is not None and limit < 1:
        raise LesionError(f"Expected a limit of at least one image, got {limit}.")
    _steady(subject)
    device = device_of(subject.network)
    room = budget or int(SHARE * free(device))
    with evaluating(subject.network):
        dissection = dissect(subject.network, subject.outputs, _placed(subject))
        intact = _engine(subject, dissection)
        engine = recovering(intact, dissection, subject, choices.recovery, room)
    targets(dissection.anatomy, choices.units, choices.layers)  # refused before a file is made
    settings = {"order": choices.order, "estimand": choices.estimand}
    study, warnings = open_study(
        Path(out), subject, dissection.anatomy, choices.seed, choices.holdout, settings
    )
    try:
        lesions = planned(study, dissection, engine, choices)
    except BaseException:
        study.close()
        raise
    images = min(limit or len(study.header.order), len(study.header.order))
    if obstacle := goal.obstacle(study, images):
        warnings = [*warnings, obstacle]
    batch = first = FASTEST.get(device.type, CHUNK)
    if isinstance(engine, Recovered) and isinstance(engine.base, Replay):
        batch = first = that_fit(engine.base.program, dissection.sizes, room // 2, batch)
    elif isinstance(engine, Replay):
        first, batch = _fitted(engine, goal, lesions, images, room, batch)
    if not isinstance(goal, Full):
        own = replace(subject.images, room=room // 8)
        subject = replace(subject, images=own)
    return Sweep(study, subject, dissection, engine, lesions, goal, images, batch, first, warnings)


def _fitted(
    engine: Replay, goal: Goal, lesions: Iterable[Lesion], images: int, budget: int, fastest: int
) -> tuple[int, int]:
    """How many images run at once, in the intact network's first pass and later.

    Where lesions come back to images, values are kept for them.
    """
    sizes = engine.dissection.sizes
    engine.most = that_fit(engine.program, sizes, budget, fastest)
    if isinstance(goal, Full):
        return engine.most, engine.most
    targets = {Target(lesion.target, lesion.kind) for lesion in lesions}
    engine.keep(targets, images, budget // 2)
    return engine.most, that_fit(engine.program, sizes, budget // 2, TOGETHER)


def sweep(
    network: nn.Module,
    data: Any,
    out: str | Path,
    *,
    max_drop: float = 1.0,
    confidence: float = 95,
    half_width: float | None = None,
    full: bool = False,
    score: str | Score = "top1",
    ratios: Sequence[float] = RATIOS,
    criterion: str = "l1",
    units: str = "free",
    layers: Sequence[str] = (),
    rounding: str = "floor-kept",
    limit: int | None = None,
    seed: int = 0,
    holdout: float = HOLDOUT,
    order: str = "margin",
    estimand: str = "set",
    memory: str | None = None,
    device: str | None = None,
    adapter: Adapter | None = None,
    recovery: str | Recover = "",
    train: Any = None,
    progress: Callable[[Progress], None] | None = None,
) -> Study:
    """The study at `out`: each unit cut on its own, at rising ratios, until it is told apart.

    network, data: a trained network and its evaluation images (a Dataset or DataLoader, read by
        index); see `Choices` for what to measure, `prepare` for the errors
    max_drop, confidence: stop with a lesion once it is certain at `confidence` per cent whether it
        costs more than `max_drop` points, see `Aim`
    half_width: instead, go on until every drop is known to so many points on both sides; full:
        measure every lesion on every image
    score: what an image gives, see `Subject.of`
    limit: the first so many images of the study's random order; memory: such as "4G", by default
        half of what is free; device: such as "cuda", by default where the network is
    adapter: stands between batches and the network where they are not (images, labels)
    recovery: what each lesioned network goes through before it is scored: "bn" (batch norms'
        statistics estimated anew), "finetune:STEPS", or a function `recover(network, batches)`, see
        `lesion.recovery`; train: its training images, a Dataset or DataLoader without scored ones

    The network comes back bit for bit, also after an error or an interrupt.  Calling again with
    the same file goes on where it stopped, and with another goal uses all that it holds.  The drop
    at a ratio is measured without retraining (Li et al. 2017, section 3.2) unless a recovery is
    given; one study holds both.
    """
    choices = Choices(
        ratios, criterion, units, layers, rounding, seed, holdout, order, estimand, recovery
    )  # fmt: skip
    choices.check()
    with placed(network, device):
        subject = Subject.of(network, data, adapter=adapter, score=score, train=train)
        goal = aimed(max_drop, confidence, judged(subject.score), half_width, full)
        budget = parse(memory) if memory else None
        ready = prepare(subject, out, choices, goal, limit=limit, budget=budget)
        return exhausted(ready, ready.study, progress)


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


@contextmanager
def placed(network: nn.Module, device: str | None) -> Iterator[None]:
    """The network on a device, and afterwards where it was."""
    if device is None:
        yield
        return
    home = device_of(network)
    try:
        _move(network, device)
        yield
    finally:
        network.to(home)


def _move(network: nn.Module, device: str) -> None:
    try:
        torch.zeros(1, device=device).cpu()  # "meta" takes numbers and does not give them back
        network.to(device)
    except (RuntimeError, AssertionError) as error:
        raise SubjectError(
            f"Expected a device that torch can use here, got '{device}': {first_line(error)}"
        ) from error


def _placed(subject: Subject) -> Any:
    return moved(subject.example, device_of(subject.network))


def _steady(subject: Subject) -> None:
    """Raises SubjectError where two reads of the same images differ."""
    first = range(min(8, len(subject.images)))
    one, other = (digests(subject.images.batch(first), len(first)) for _ in range(2))
    if not np.array_equal(one, other):
        raise SubjectError(
            "Expected images that are the same at every read, but two reads of the first ones "
            "differ: every lesion must see the same images; take the random augmentation out."
        )


@torch.no_grad()
def _engine(subject: Subject, dissection: Dissection) -> Engine:
    """Replay where it gives what the network gives, whole passes otherwise."""
    engine = Whole(dissection) if dissection.anatomy.whole else Replay(dissection)
    example = _placed(subject)
    outputs = subject.outputs(subject.network, example)
    ((_, replayed),) = engine.run(dissection.call.tensors(example), {})
    own, replayed = outputs.double(), replayed.double()
    exact = own.device.type == "cpu" and outputs.dtype in (torch.float32, torch.float64)
    most = (SAME if exact else CLOSE) * (float(own.abs().max()) or 1.0)
    if float((own - replayed).abs().max()) > most:
        raise SubjectError(
            "Expected the network to give the same outputs at every pass, traced or not, but on "
            "the first images they differ: its forward draws random numbers or keeps a state; "
            "make it deterministic in evaluation mode."
        )
    return engine


def planned(
    study: Study, dissection: Dissection, engine: Engine, choices: Choices
) -> dict[Lesion, np.ndarray]:
    """The study's lesions of these choices, with the labels that fall; adds what is new."""
    anatomy = dissection.anatomy
    chosen, skipped = targets(anatomy, choices.units, choices.layers)
    known: dict[Target, np.ndarray] = {}
    for target in chosen:
        reason = engine.obstacle(target)
        if not reason:
            try:
                known[target] = scores(
                    dissection, target.name, target.kind, choices.criterion, choices.seed
                )
            except LesionError as error:
                reason = str(error)
        if reason:
            skipped.append(Skipped(target.name, target.kind, reason))
    recovery = engine.recovery.name if isinstance(engine, Recovered) else ""
    lesions, without = plan(
        anatomy, known, choices.criterion, choices.ratios, choices.rounding, choices.seed,
        recovery,
    )  # fmt: skip
    if recovery in study.recoveries:
        remember(study, engine)  # refused if the training images are others
    study.add(lesions, skipped + without)
    hinder(study, engine, lesions)
    for target, own in known.items():
        study.set_scores(target.name, target.kind, choices.criterion, choices.seed, own)
    for layer in anatomy.layers:
        study.set_norms(layer.name, of_layer(dissection, layer, "l1"))
    return {
        lesion: dropped(anatomy, lesion, known[Target(lesion.target, lesion.kind)])
        for lesion in lesions
    }
