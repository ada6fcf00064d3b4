"""Lesions judged by one number of the whole network, for what is no mean of scores of images."""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from lesion.engine.whole import Whole
from lesion.errors import LesionError, StudyError, SubjectError, first_line
from lesion.lesions.criteria import Given
from lesion.lesions.damage import Damage
from lesion.lesions.edits import Channels, Edit
from lesion.lesions.lesion import Lesion
from lesion.network.dissect import dissect
from lesion.network.dissection import Dissection
from lesion.network.graph import Call, Forward
from lesion.network.sliceable import Slicer
from lesion.study.study import Study
from lesion.subject.adapter import Adapter, BatchAdapter
from lesion.subject.batch import describe, moved
from lesion.subject.network import device_of, evaluating
from lesion.subject.subject import named
from lesion.subject.weights import check_weights
from lesion.sweeps.choices import Choices
from lesion.sweeps.evaluation import Evaluate, Evaluation
from lesion.sweeps.identity import open_evaluated
from lesion.sweeps.prepare import Planning, placed
from lesion.sweeps.progress import Progress, Told, exhausted
from lesion.sweeps.runners import Runner
from lesion.sweeps.runners.here import Runner as Here

ELSEWHERE = 1e-2  # of an evaluation: by how much it may differ on another device


class Copies(Whole):
    """Copies of a network that are edited for good: where channels fall, smaller networks."""

    def __init__(self, dissection: Dissection) -> None:
        super().__init__(dissection)
        self.slicer = Slicer(dissection)

    def obstacle(self, edit: Edit) -> str:
        """Why an edit cannot be made exactly; "" if it can."""
        where = "" if self._slices(edit) else edit.obstacle(self.readers)
        return f"hooks cannot cut its channels at {where}" if where else ""

    def copy(self, edit: Edit | None) -> nn.Module:
        """A copy of the network, edited if there is an edit."""
        if isinstance(edit, Channels) and self._slices(edit):
            small, problem = self.slicer.smaller(edit.dropped)
            if problem:
                raise SubjectError(f"Expected a network that can be made smaller, but {problem}.")
            return small
        network = _copied(self.call.network)
        if edit is not None:
            self.edited(Call(network, self.call.adapted, ()), edit)
        return network

    def _slices(self, edit: Edit) -> bool:
        """Whether an edit is of channels that are gone wherever they are read, not of a branch."""
        if not isinstance(edit, Channels):
            return False
        gone = np.append(edit.dropped, False)  # the last is CONSTANT's
        cut = {(edge.node, edge.argument): edge.labels for edge in edit.edges}
        reading = (edge for edge in self.dissection.reads if gone[edge.labels.numpy()].any())
        whole = all(
            (edge.node, edge.argument) in cut and edge.labels.equal(cut[edge.node, edge.argument])
            for edge in reading
        )
        return whole and self.slicer.exact(edit.dropped)


@dataclass(frozen=True)
class Evaluator:
    """Measures by a function of the whole network: a worker whose tasks are edits."""

    copies: Copies
    evaluate: Evaluate

    def __call__(self, tasks: Sequence[Edit | None]) -> Iterator[Evaluation]:
        """What the function gives for each edited copy, None for an unedited one.

        Raises SubjectError where the function fails.
        """
        with evaluating(self.copies.call.network):
            for edit in tasks:
                yield Evaluation.of(self.evaluate, self.copies.copy(edit))


@dataclass(eq=False)
class WholeSweep:
    """Evaluations ready to run.  Iterating makes and saves one at a time, the intact one first.

    lesions: each with what it does; warnings: what differs from the study's first environment
    """

    study: Study
    worker: Evaluator
    lesions: Mapping[Lesion, Edit]
    warnings: list[str] = field(default_factory=list)
    runner: Runner = field(default_factory=Here)

    def __iter__(self) -> Iterator[Progress]:
        known = {*self.study.evaluations, *self.study.failed}
        wanted = [lesion for lesion in (None, *self.lesions) if lesion not in known]
        if wanted and None in known:
            self._check()
        tasks = [None if lesion is None else self.lesions[lesion] for lesion in wanted]
        values = self.runner.run(tasks, lambda: self.worker)
        for done, (lesion, (_, given)) in enumerate(zip(wanted, values, strict=True), 1):
            self._record(lesion, given)
            yield Progress(done, len(wanted))

    def _check(self) -> None:
        """Raises StudyError where the intact network's evaluation is another: its function's name
        does not tell what that does."""
        before, drawn = self.study.evaluations[None], self.study.resampled.get(None)
        ((_, (value, resampled)),) = self.runner.run([None], lambda: self.worker)
        if drawn and resampled and not drawn.alike(resampled, ELSEWHERE):
            raise StudyError(
                f"Expected the parts of the intact network's score that {self.study.path} holds "
                f"resamples of ({len(drawn.values)} of {drawn.images} images), but others came "
                f"({len(resampled.values)} of {resampled.images} images): give the same images in "
                "the same order, and as many resamples, or name a new study file."
            )
        if not math.isclose(before, value, rel_tol=ELSEWHERE):
            raise StudyError(
                f"Expected the evaluation of the intact network that {self.study.path} holds, "
                f"{before:.6g}, but {value:.6g} came: the images or the function are others, or it "
                "draws at random; give what it was made with, or name a new study file."
            )

    def _record(self, lesion: Lesion | None, given: Evaluation) -> None:
        value, resampled = given
        if math.isfinite(value):
            self.study.set_evaluation(value, lesion, resampled)
        elif lesion is not None:
            self.study.fail(lesion, f"its evaluation is not finite ({value:g})")
        else:
            raise SubjectError(
                f"Expected a finite evaluation of the intact network, got {value:g}; check the "
                "weights, the images and the function."
            )


def evaluate(
    network: nn.Module,
    evaluate: Evaluate,
    out: str | Path,
    example: Any,
    *,
    part: str = "",
    ratios: Sequence[float] | None = None,
    criterion: Given = "l1",
    units: str = "free",
    layers: Sequence[str] = (),
    rounding: str = "floor-kept",
    seed: int = 0,
    device: str | None = None,
    adapter: Adapter | None = None,
    damage: str | Damage = "filters",
    progress: bool | Told = True,
) -> Study:
    """The study at `out`: each unit cut on its own, at rising ratios, and evaluated as a whole.

    For what is no mean over images, such as mean average precision or F1.  Each lesion takes one
    evaluation: none stops early.  The drops are in the evaluation's own unit; an interval stands
    behind them where the function says what its number is made of image by image, see `SetScore`.
    Where an image has a score of its own, `sweep` needs far fewer passes.

    evaluate: takes a network and gives one number or a `SetScore`, larger being better (of a share
        best the per cent: figures are drawn for points); it gets copies, in evaluation mode, and
        may do with them what it likes
    example: a batch that shows the layers: a tensor of images (N, …), or what the adapter takes;
        two images or more
    part: the name of the submodule in which to look for layers, where the whole network cannot be
        followed, such as a detection network's "backbone"; the example is then the part's input,
        and channels that leave the part are not cut
    ratios, criterion, units, layers, rounding, seed, damage: see `Choices`; progress: see `sweep`

    `network` itself is not changed, and calling again with the same file goes on where it
    stopped.  Raises SubjectError where the evaluation fails or the layers cannot be seen.
    """
    choices = Choices(ratios, criterion, units, layers, rounding, seed, damage=damage)
    with placed(network, device):
        ready = prepare_whole(network, evaluate, out, example, choices, part, adapter)
        return exhausted(ready, ready.study, progress)


def prepare_whole(
    network: nn.Module, evaluate: Evaluate, out: str | Path, example: Any,
    choices: Choices | None = None, part: str = "", adapter: Adapter | None = None,
) -> WholeSweep:  # fmt: skip
    """The evaluations that `evaluate` makes, ready to run; of `choices` those of its own."""
    choices = choices or Choices()
    choices.check()
    if choices.recovery:
        raise LesionError(
            "Expected no recovery for a whole evaluation, which is of the network as it is cut; "
            "let the function recover it."
        )
    _check(network, evaluate, part)
    with evaluating(network):
        dissection = _dissected(network, _forward(part, adapter), example, part)
        copies = Copies(dissection)
    choices.kind.targets(dissection.anatomy, choices.units, choices.layers)  # refused before a file
    evaluation = {"evaluation": named(evaluate), **({"part": part} if part else {})}
    study, warnings = open_evaluated(
        Path(out), network, dissection.anatomy, evaluation, {"source": choices.source}
    )
    try:
        lesions = Planning(study, dissection, copies, choices).planned()
    except BaseException:
        study.close()
        raise
    return WholeSweep(study, Evaluator(copies, evaluate), lesions, warnings)


def _check(network: nn.Module, evaluate: Evaluate, part: str) -> None:
    if not isinstance(network, nn.Module):
        raise SubjectError(f"Expected a torch.nn.Module, got {type(network).__name__}.")
    if not callable(evaluate):
        raise SubjectError(
            f"Expected a function evaluate(network), got {type(evaluate).__name__}; give one that "
            "returns a number, larger being better."
        )
    check_weights(network)
    with suppress(AttributeError):
        network.get_submodule(part)
        return
    names = ", ".join(name for name, _ in network.named_children())
    raise SubjectError(f"Expected a submodule '{part}' of the network, which has {names}.")


def _forward(part: str, adapter: Adapter | None) -> Forward:
    """How the part of a network runs on a batch."""
    given = adapter or BatchAdapter()

    def forward(network: nn.Module, batch: Any) -> Any:
        module = network.get_submodule(part)
        plain = isinstance(batch, Tensor) and adapter is None
        return module(batch) if plain else given.forward(module, batch)

    return forward


def _dissected(network: nn.Module, forward: Forward, example: Any, part: str) -> Dissection:
    try:
        traced = dissect(network, forward, moved(example, device_of(network)), scored=False)
    except LesionError:
        raise
    except Exception as error:  # what torch makes of a network that it cannot follow
        raise SubjectError(
            f"Expected a network that can be followed on {describe(example)}, but torch says: "
            f"{first_line(error).partition('. ')[0]}; check the example, or name a part of the "
            'network whose outputs are tensors, such as part="backbone".'
        ) from error
    if not part:
        return traced
    note = f"only {part} was looked at: what lies outside is neither cut nor counted"
    anatomy = traced.anatomy
    return replace(traced, anatomy=replace(anatomy, notes=(*anatomy.notes, note)))


def _copied(network: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(network)
    except Exception as error:  # modules may hold anything, not all of which can be copied
        raise SubjectError(
            f"Expected a network that copy.deepcopy can copy, but it says: "
            f"{first_line(error)}; take out what cannot be copied, such as tensors computed "
            "from others that are kept in the module."
        ) from error
