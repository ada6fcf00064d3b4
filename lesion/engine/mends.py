"""The recoveries that need no training: constants, least squares, merging, batch statistics."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from lesion.engine.base import Name
from lesion.engine.consumers import Consumer
from lesion.engine.mend import TrainingPasses
from lesion.engine.moments import ROWS, Moments, fitted
from lesion.lesions.mended_edit import Mended
from lesion.network.layout import Layout
from lesion.network.program import Run, Step
from lesion.words import grouped

IMAGES, RIDGE = 1024, 1e-4
STATISTICS, TOGETHER = 2000, 125  # for batch norm: batches of equal size, so that none counts more


@dataclass(frozen=True)
class Fit:
    """What the consumers' weights and constants become, consumer after consumer.

    images: how many training images are read
    """

    images: int = IMAGES
    word: ClassVar[str]
    wide: ClassVar[bool] = True  # whether it needs more than means

    @property
    def name(self) -> str:
        """What it is called, such as "reconstruct" or "reconstruct:512"."""
        return self.word + (f":{self.images}" if self.images != IMAGES else "")

    def changes(
        self, moments: Moments, layout: Layout, free: Tensor, matrix: Tensor, biased: bool
    ) -> tuple[Tensor, Tensor]:
        """What is added to a consumer's matrix (groups, reads, makes) and bias (groups, makes).

        free: (groups, reads), the columns that may change; biased: whether a constant may
        """
        raise NotImplementedError

    def unknowns(self, free: Tensor) -> int:
        """How many numbers are fitted for one output."""
        return 1

    def hindrance(self, images: TrainingPasses, edit: Mended) -> str:
        """Why no consumer can be fitted, or that there are too few rows."""
        consumers = images.consumers.of(edit.edit)
        if not consumers:
            return "no layer behind it has a weight that can be fitted"
        count = images.count(self.images)
        for consumer in consumers:
            rows = images.consumers.rows(consumer, count)
            needed = ROWS * self.unknowns(images.consumers.free(consumer, edit))
            if rows < needed:
                return (
                    f"{count} training images give {grouped(rows)} rows to fit {consumer.weight} "
                    f"by, and it needs {grouped(needed)}, of {-(-needed * count // rows)} images"
                )
        return ""

    def __call__(
        self, images: TrainingPasses, edits: Mapping[Name, Mended], seed: int
    ) -> dict[Name, Mended]:
        """The edits with what their consumers become."""
        consumers = {name: images.consumers.of(edit.edit) for name, edit in edits.items()}
        plain = {
            name for name, edit in edits.items() if images.consumers.plain(edit, consumers[name])
        }
        wanted = {consumer for name in plain for consumer in consumers[name]}
        reads = images.reads(wanted, seed, self.images, self.wide) if wanted else {}
        mended = {}
        for name, edit in edits.items():
            if name in plain:
                mended[name] = self._by_reads(images, edit, consumers[name], reads)
            else:
                mended[name] = self._in_order(images, edit, consumers[name], seed)
        return mended

    def _by_reads(
        self,
        images: TrainingPasses,
        edit: Mended,
        consumers: Sequence[Consumer],
        reads: Mapping[Consumer, Moments],
    ) -> Mended:
        """Of an edit that changes the consumers' weights alone: what they read is known."""
        weights = edit.edit.weights(images.consumers.readers, images.dissection.call.network)
        changed: dict[str, Tensor] = {}
        for consumer in consumers:
            before = images.program.parameters[consumer.weight]
            lost = images.consumers.layout(consumer).matrix(before - weights[consumer.weight])
            moments = reads[consumer].missing(lost)
            changed |= self.changed(images, edit, consumer, moments)
        return edit.having(images.dissection, changed)

    def _in_order(
        self, images: TrainingPasses, edit: Mended, consumers: Sequence[Consumer], seed: int
    ) -> Mended:
        passes = images.passes(seed, self.images, self.wide)
        for consumer in consumers:
            moments = passes.moments(consumer, edit)
            changed = self.changed(images, edit, consumer, moments)
            edit = edit.having(images.dissection, changed)
        return edit

    def changed(
        self, images: TrainingPasses, edit: Mended, consumer: Consumer, moments: Moments
    ) -> dict[str, Tensor]:
        """What a consumer's parameters become by what it reads and misses, by name."""
        known = {**images.program.parameters, **edit.parameters}
        weight, layout = known[consumer.weight], images.consumers.layout(consumer)
        free, constant = images.consumers.free(consumer, edit), consumer.bias or consumer.mean
        matrix = layout.matrix(weight)
        more, shift = self.changes(moments, layout, free, matrix, bool(constant))
        changed = {consumer.weight: weight + layout.weight(more).to(weight)}
        if constant:
            sign = 1 if consumer.bias else -1
            changed[constant] = known[constant] + sign * shift.flatten().to(known[constant])
        return changed


@dataclass(frozen=True)
class Bias(Fit):
    """The mean of what a consumer misses is added to its bias, or taken off the mean of the batch
    norm behind it.

    Exact where what is gone is constant, and nothing is padded.
    """

    word: ClassVar = "bias"
    wide: ClassVar = False

    def hindrance(self, images: TrainingPasses, edit: Mended) -> str:
        """Also that nothing takes a constant."""
        constants = (consumer.bias or consumer.mean for consumer in images.consumers.of(edit.edit))
        nowhere = "no layer behind it has a bias, or a batch norm, of its own for the constant"
        return super().hindrance(images, edit) or ("" if any(constants) else nowhere)

    def changes(
        self, moments: Moments, layout: Layout, free: Tensor, matrix: Tensor, biased: bool
    ) -> tuple[Tensor, Tensor]:
        shift = moments.misses[:, -1] / moments.count
        return torch.zeros_like(matrix), shift if biased else torch.zeros_like(shift)


@dataclass(frozen=True)
class Reconstruct(Fit):
    """A consumer's weights and bias are those by which it misses least, of what it still reads.

    ridge: the price of a change, as a share of the mean square of what is read
    """

    ridge: float = RIDGE
    word: ClassVar = "reconstruct"

    @property
    def name(self) -> str:
        return super().name + (f",ridge={self.ridge:g}" if self.ridge != RIDGE else "")

    def unknowns(self, free: Tensor) -> int:
        return int(free.sum(1).max()) + 1

    def changes(
        self, moments: Moments, layout: Layout, free: Tensor, matrix: Tensor, biased: bool
    ) -> tuple[Tensor, Tensor]:
        return fitted(moments, free, self.ridge, biased)


@dataclass(frozen=True)
class Fold(Fit):
    """What falls is replaced by what stays and is most correlated with it, scaled and shifted.

    Channel j, read with weights w_j, counts as α · channel i + β, by least squares over the images:
    w_i grows by α w_j, and the bias by β Σ w_j.  Exact where channels are such functions of each
    other, and nothing is padded.  (Babaeizadeh et al. 2017, "NoiseOut", there of neurons.)
    """

    word: ClassVar = "fold"

    def changes(
        self, moments: Moments, layout: Layout, free: Tensor, matrix: Tensor, biased: bool
    ) -> tuple[Tensor, Tensor]:
        groups, width, makes = matrix.shape
        taps = layout.taps
        change = moments.reads.new_zeros(groups, width // taps, taps, makes)
        shift = moments.reads.new_zeros(groups, makes)
        weights = matrix.to(change).reshape(change.shape)
        stays = free.reshape(groups, -1, taps).any(2)
        for group in range(groups):
            second, mean = moments.of_channels(group, taps)
            if not biased:
                mean = torch.zeros_like(mean)
            spread = second - torch.outer(mean, mean)
            alone = spread.diagonal()
            kept = (stays[group].to(alone.device) & (alone > 0)).nonzero()[:, 0]
            for gone in (~stays[group]).nonzero()[:, 0].tolist():
                rest = mean[gone]
                if len(kept):
                    best = kept[(spread[kept, gone] ** 2 / alone[kept]).argmax()]
                    scale = spread[best, gone] / alone[best]
                    change[group, best] += scale * weights[group, gone]
                    rest = rest - scale * mean[best]
                shift[group] += rest * weights[group, gone].sum(0)
        return change.reshape(matrix.shape), shift


@dataclass(frozen=True)
class Statistics:
    """Running means and variances of the batch norms that an edit reaches are estimated anew.

    They are the averages over batches of 125 of the first `images` training images of the seeded
    order, these batch norms in training mode and all else as in evaluation.
    """

    images: int = STATISTICS

    @property
    def name(self) -> str:
        return "bn"

    def hindrance(self, images: TrainingPasses, edit: Mended) -> str:
        """Nothing is in its way."""
        return ""

    def __call__(
        self, images: TrainingPasses, edits: Mapping[Name, Mended], seed: int
    ) -> dict[Name, Mended]:
        """The edits with the statistics that are theirs."""
        averages: dict[Name, _Averages] = {name: _Averages() for name in edits}
        order = sorted(edits, key=lambda name: images.behind(edits[name]).pause)
        replays = {name: self._replayed(images, edits[name], averages[name]) for name in edits}
        for tensors in images.batches(seed, TOGETHER, self.images):
            run = Run(images.program, tensors)
            for name in order:
                after = images.behind(edits[name])
                run.forward(after.pause)
                run.ahead(after.ahead)
                run.replay(replays[name], after.ends)
        return {
            name: edit.having(images.dissection, averages[name].values())
            for name, edit in edits.items()
        }

    def _replayed(self, images: TrainingPasses, edit: Mended, averages: "_Averages") -> list[Step]:
        """The steps behind an edit, batch norms by the batch at hand."""
        program, nodes = images.edited(edit), images.dissection.graph.nodes
        steps = []
        for place in images.behind(edit).replayed:
            step = program.steps[place]
            if step.name == "batch_norm":
                names = tuple(nodes[nodes[step.index].args[at].index].name for at in (3, 4))
                step = replace(step, op=averages.noting(names))
            steps.append(step)
        return steps


class _Averages:
    """The plain averages of batch norms' statistics over batches and uses."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: defaultdict[str, int] = defaultdict(int)

    def noting(self, names: tuple[str, str]) -> Callable[..., Tensor]:
        """A batch norm in training mode; names: of its running mean and variance."""

        def run(
            x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float
        ) -> Tensor:
            mean, var = torch.zeros_like(mean), torch.ones_like(var)
            y = F.batch_norm(x, mean, var, weight, bias, True, 1.0, eps)  # these are the batch's
            for name, value in zip(names, (mean, var), strict=True):
                self._sums[name] = self._sums.get(name, 0) + value
                self._counts[name] += 1
            return y

        return run

    def values(self) -> dict[str, Tensor]:
        """The averages, by name."""
        return {name: total / self._counts[name] for name, total in self._sums.items()}
