"""From a subject to a sweep that is ready to run."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lesion import spending
from lesion.adapter import cloned, describe, moved
from lesion.aim import Aim
from lesion.changeable import check_ending
from lesion.choices import Choices
from lesion.dissect import Dissection, dissect
from lesion.engine import Engine, Replay
from lesion.errors import LesionError, SubjectError, first_line
from lesion.goals import Decide, Full, Goal
from lesion.hooks import Whole
from lesion.identity import open_study
from lesion.images import digests
from lesion.memory import SHARE, free, that_fit
from lesion.plan import Lesion, Skipped, Target, dropped, plan, targets
from lesion.recovered import Recovered, hinder, recovering, remember
from lesion.running import Sweep
from lesion.schedule import CHUNK, TOGETHER
from lesion.scoring import of_layer, scores
from lesion.snapshot import unchanged
from lesion.study import Study
from lesion.subject import Subject, device_of, evaluating, judged

SAME, CLOSE = 1e-4, 1e-2  # of the outputs' scale: float32 sums in another order; fewer digits
FASTEST = {"cpu": 32}  # images at once where more would fit: these stay in the cache


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
        dissection = dissect(subject.network, subject.outputs, example_of(subject))
        intact = engine_for(subject, dissection)
        engine = recovering(intact, dissection, subject, choices.recovery, room)
    targets(dissection.anatomy, choices.units, choices.layers)  # refused before a file is made
    settings = {
        "order": choices.order, "estimand": choices.estimand, "seed": choices.seed,
        "holdout": choices.holdout, "source": choices.source,
    }  # fmt: skip
    study, warnings = open_study(
        Path(out), subject, dissection.anatomy, choices.seed, choices.holdout, settings
    )
    images = min(limit or len(study.header.order), len(study.header.order))
    try:
        lesions = planned(study, dissection, engine, choices, goal.aim, images)
    except BaseException:
        study.close()
        raise
    if subject.several:
        warnings = [*warnings, subject.several]
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
    targets = {lesion.at for lesion in lesions}
    engine.keep(targets, images, budget // 2)
    return engine.most, that_fit(engine.program, sizes, budget // 2, TOGETHER)


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
            f"Expected a device that torch can use here, got '{device}': {first_line(error)}"
        ) from error


def example_of(subject: Subject) -> Any:
    """The first images, where the network is."""
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
def engine_for(subject: Subject, dissection: Dissection) -> Engine:
    """Replay where it gives what the network gives, whole passes otherwise."""
    example = example_of(subject)
    with unchanged(subject.network):
        outputs = subject.outputs(subject.network, cloned(example))
    if subject.classes:
        check_ending(subject.score, dissection.graph, outputs.shape[1])
    if dissection.anatomy.whole:
        return Whole(dissection)
    fewer = outputs.device.type != "cpu" or outputs.dtype not in (torch.float32, torch.float64)
    tensors = dissection.call.tensors(example)
    for fold in (True, False) if fewer else (True,):  # unfolded, values are rounded as they were
        engine = Replay(dissection, fold=fold)
        ((_, replayed),) = engine.run(tensors, {})
        difference = float((outputs.double() - replayed.double()).abs().max())
        if difference <= (CLOSE if fewer else SAME) * (float(outputs.abs().max()) or 1.0):
            return engine
    raise SubjectError(
        "Expected operations that give what the network gives, but on the first images the same "
        f"operations run one by one are off by {difference:.2g}: {_cause(outputs)}."
    )


def _cause(outputs: Tensor) -> str:
    if outputs.dtype in (torch.float16, torch.bfloat16):
        kind = describe(outputs).split()[0]
        return f"its outputs are rounded to {kind}, which is too coarse here; give network.float()"
    return "its forward depends on what no trace sees; make it depend on the images alone"


def planned(
    study: Study,
    dissection: Dissection,
    engine: Engine,
    choices: Choices,
    aim: Aim | None = None,
    images: int = 0,
) -> dict[Lesion, np.ndarray]:
    """The study's lesions of these choices, with the labels that fall; adds what is new.

    aim, images: what is asked of them first, and of how many images; None where nothing is tested
    Raises SubjectError where there is none; the study then holds the reasons.
    """
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
    if aim:
        spending.planned(study, lesions, aim, images)
    study.add(lesions, skipped + without)
    hinder(study, engine, lesions)
    for target, own in known.items():
        study.set_scores(target.name, target.kind, choices.criterion, choices.seed, own)
    for layer in anatomy.layers:
        study.set_norms(layer.name, of_layer(dissection, layer, "l1"))
    _check_some(lesions, skipped + without)
    return {lesion: dropped(anatomy, lesion, known[lesion.at]) for lesion in lesions}


def _check_some(lesions: Collection[Lesion], skipped: Sequence[Skipped]) -> None:
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
