"""The sweep: from a subject to a study, chunk by chunk, saved as it goes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lesion.adapter import Adapter, moved
from lesion.criteria import criterion as known_criterion
from lesion.dissect import Dissection, dissect
from lesion.engine import Engine, Replay
from lesion.errors import LesionError, SubjectError
from lesion.hooks import Whole
from lesion.identity import HOLDOUT, check_holdout, open_study
from lesion.images import digest
from lesion.measure import measure
from lesion.memory import SHARE, free, parse, that_fit
from lesion.plan import RATIOS, Lesion, Skipped, Target, check_ratios, dropped, plan, targets
from lesion.schedule import Work, rounds
from lesion.scoring import of_layer, scores
from lesion.study import Study
from lesion.subject import Subject, device_of, evaluating

FASTEST = {"cpu": 32}  # images at once where more would fit: these stay in the cache


@dataclass(frozen=True)
class Choices:
    """What to measure.

    ratios: pruning ratios in (0, 1); criterion: which filters go first; units: "free" or "all"
    layers: patterns of layer names, none for all; rounding: "floor-kept" or "nearest"
    seed: of the images' order, the images kept back, and criteria that draw
    holdout: share of the images kept back for checking advice, in [0, 1)
    """

    ratios: Sequence[float] = RATIOS
    criterion: str = "l1"
    units: str = "free"
    layers: Sequence[str] = ()
    rounding: str = "floor-kept"
    seed: int = 0
    holdout: float = HOLDOUT

    def check(self) -> None:
        """Raises LesionError for what cannot be, before any work."""
        check_ratios(self.ratios, self.rounding)
        known_criterion(self.criterion)
        check_holdout(self.holdout)


@dataclass(frozen=True)
class Progress:
    """How far a sweep is: image-passes done and in all, and the warnings of its start."""

    done: int
    total: int


@dataclass(eq=False)
class Sweep:
    """A sweep ready to run.  Iterating measures and saves a chunk at a time.

    warnings: what differs from the study's first environment; batch: images run at once
    """

    study: Study
    subject: Subject
    dissection: Dissection
    engine: Engine
    lesions: dict[Lesion, np.ndarray]
    images: int
    batch: int
    warnings: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Progress]:
        failed = self.study.failed
        done = {one: self.study.images(one) for one in self.lesions if one not in failed}
        works = list(rounds(done, self.images, self.study.header.chunk))
        total = sum(work.images * len(work.lesions) for work in works)
        finished = 0
        plan = [self.study.header.indices(work.chunk)[: work.images] for work in works]
        with evaluating(self.subject.network):
            for work, images in zip(works, self.subject.images.batches(plan), strict=True):
                self._chunk(work, images)
                finished += work.images * len(work.lesions)
                yield Progress(finished, total)

    def _chunk(self, work: Work, images: Any) -> None:
        failed = self.study.failed
        gone = {one: self.lesions[one] for one in work.lesions if one not in failed}
        found = measure(self.engine, self.dissection.call, self.subject, images, gone, self.batch)
        self.study.record(work.chunk, digest(images), found.intact, found.outcomes)
        for lesion, reason in found.failed.items():
            self.study.fail(lesion, reason)


def prepare(
    subject: Subject,
    out: str | Path,
    choices: Choices | None = None,
    *,
    limit: int | None = None,
    budget: int | None = None,
) -> Sweep:
    """A sweep of a subject into the study at `out`, new or gone on with.

    limit: measure the first so many images of the order, None for all; budget: bytes to use.
    Raises LesionError (its kinds) for choices or a subject that cannot be measured, and StudyError
    where the study is another subject's.
    """
    choices = choices or Choices()
    choices.check()
    if limit is not None and limit < 1:
        raise LesionError(f"Expected a limit of at least one image, got {limit}.")
    _steady(subject)
    with evaluating(subject.network):
        dissection = dissect(subject.network, subject.logits, _placed(subject))
        engine = _engine(subject, dissection)
    targets(dissection.anatomy, choices.units, choices.layers)  # refused before a file is made
    study, warnings = open_study(
        Path(out), subject, dissection.anatomy, choices.seed, choices.holdout
    )
    try:
        lesions = _lesions(study, dissection, engine, choices)
    except BaseException:
        study.close()
        raise
    images = min(limit or len(study.header.order), len(study.header.order))
    device = device_of(subject.network)
    batch = FASTEST.get(device.type, study.header.chunk)
    if isinstance(engine, Replay):
        bytes_ = budget or int(SHARE * free(device))
        batch = that_fit(engine.program, dissection.sizes, bytes_, batch)
    return Sweep(study, subject, dissection, engine, lesions, images, batch, warnings)


def sweep(
    network: nn.Module,
    data: Any,
    out: str | Path,
    *,
    ratios: Sequence[float] = RATIOS,
    criterion: str = "l1",
    units: str = "free",
    layers: Sequence[str] = (),
    rounding: str = "floor-kept",
    limit: int | None = None,
    seed: int = 0,
    holdout: float = HOLDOUT,
    memory: str | None = None,
    device: str | None = None,
    adapter: Adapter | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Study:
    """The study at `out` with every lesion measured: each unit on its own, at every ratio.

    network, data: a trained classifier and its labelled images (a Dataset or DataLoader, read by
        index); see `Choices` for what to measure, `prepare` for the errors
    limit: the first so many images of the study's random order; memory: such as "4G", by default
        half of what is free; device: such as "cuda", by default where the network is
    adapter: stands between batches and the network where they are not (images, labels)

    The network comes back bit for bit, also after an error or an interrupt.  Calling again with
    the same file goes on where it stopped.  The drop at a ratio is measured without retraining
    (Li et al. 2017, section 3.2).
    """
    choices = Choices(ratios, criterion, units, layers, rounding, seed, holdout)
    choices.check()
    with placed(network, device):
        subject = Subject.of(network, data, adapter=adapter)
        budget = parse(memory) if memory else None
        ready = prepare(subject, out, choices, limit=limit, budget=budget)
        try:
            for step in ready:
                if progress:
                    progress(step)
        except BaseException:
            ready.study.close()
            raise
    return ready.study


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
            f"Expected a device that torch can use here, got '{device}': "
            f"{str(error).splitlines()[0]}"
        ) from error


def _placed(subject: Subject) -> Any:
    return moved(subject.example, device_of(subject.network))


def _steady(subject: Subject) -> None:
    """Raises SubjectError where two reads of the same images differ."""
    first = range(min(8, len(subject.images)))
    if digest(subject.images.batch(first)) != digest(subject.images.batch(first)):
        raise SubjectError(
            "Expected images that are the same at every read, but two reads of the first ones "
            "differ: every lesion must see the same images; take the random augmentation out."
        )


@torch.no_grad()
def _engine(subject: Subject, dissection: Dissection) -> Engine:
    """Replay where it gives what the network gives, whole passes otherwise."""
    engine = Whole(dissection) if dissection.anatomy.whole else Replay(dissection)
    example = _placed(subject)
    own = subject.logits(subject.network, example)
    ((_, replayed),) = engine.run(dissection.call.tensors(example), {})
    scale = float(own.abs().max()) or 1.0
    if float((own - replayed).abs().max()) > 1e-3 * scale:
        raise SubjectError(
            "Expected the network to give the same outputs at every pass, traced or not, but on "
            "the first images they differ: its forward draws random numbers or keeps a state; "
            "make it deterministic in evaluation mode."
        )
    return engine


def _lesions(
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
    lesions, without = plan(
        anatomy, known, choices.criterion, choices.ratios, choices.rounding, choices.seed
    )
    study.add(lesions, skipped + without)
    for target, own in known.items():
        study.set_scores(target.name, target.kind, choices.criterion, choices.seed, own)
    for layer in anatomy.layers:
        study.set_norms(layer.name, of_layer(dissection, layer, "l1"))
    return {
        lesion: dropped(anatomy, lesion, known[Target(lesion.target, lesion.kind)])
        for lesion in lesions
    }
