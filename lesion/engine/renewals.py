"""Which channels are masked, decided anew while a network is trained: GDP, DNS, SFP and AGP.

A lesion says how many channels of each unit fall; here it is decided which.  Every so many steps of
the first half of a training all channels are scored, and the lowest of each unit are masked, as
many as the lesion says, by the rules that its channels fall by (`lesion.lesions.ratios.falling`).
For the second half they are fixed.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lesion.engine.lesioned import Lesioned
from lesion.lesions.criteria import Weights
from lesion.lesions.groups import by_filter
from lesion.lesions.lesion import Target
from lesion.lesions.ratios import falling
from lesion.lesions.readers import tensor_of
from lesion.lesions.scores import Scorer
from lesion.network.anatomy import Layer
from lesion.subject.training_images import Training

IMAGES, TOGETHER = 512, 32  # that gdp sees at each renewal, and at once

Loss = Callable[[Lesioned, Training, Any], Tensor]


class Renewals:
    """Decides anew which channels of a network are masked: those that score lowest.

    word: what it is called in the names of recoveries; gradual: whether none is masked at first
    """

    word: ClassVar[str]
    gradual: ClassVar = False

    def __init__(self, lesioned: Lesioned, training: Training, seed: int, loss: Loss) -> None:
        """loss: of a batch, what the training makes smaller"""
        self.lesioned, self.training, self.seed, self.loss = lesioned, training, seed, loss
        self._masks, self._lesion = lesioned.mask(), lesioned.dropped
        units = [unit for unit in lesioned.anatomy.units if self._lesion[unit.labels].any()]
        self._targets = [Target(unit.name, unit.kind) for unit in units]
        self._layers = [lesioned.anatomy.layer[name] for unit in units for name in unit.layers]
        if self.gradual:
            self._masks.set(np.zeros_like(self._lesion))

    def scores(self, number: int) -> Mapping[str, Tensor]:
        """By a layer's name the scores of its filters, at the renewal of this number."""
        return {layer.name: self.filter_scores(self._weight(layer)) for layer in self._layers}

    def filter_scores(self, filters: Tensor) -> Tensor:
        """The scores of (filters, …), where they depend on the weights alone."""
        raise NotImplementedError

    def ranked(self, target: Target, scores: np.ndarray, masked: np.ndarray) -> np.ndarray:
        """The scores of a target's channels by which they fall, of which some are masked by now."""
        return scores

    def share(self, progress: float) -> float:
        """How much of what the lesion removes is masked, at a share of all renewals."""
        return 1.0

    @torch.no_grad()
    def renew(self, number: int, last: int) -> None:
        """Masks what is to be masked from the renewal of this number on, 1 … last."""
        filters = self.scores(number) if self._targets else {}
        scorer = Scorer(
            self.lesioned.dissection, Weights(self.word, lambda some: filters[some.layer])
        )
        dropped = np.zeros_like(self._lesion)
        for target in self._targets:
            labels = self.lesioned.anatomy.unit[target.name].labels
            masked = self._masks.dropped[labels]
            scores = self.ranked(target, scorer.scores(target), masked)
            dropped[labels] = self._fallen(target, scores, self.share(number / last))
        self._masks.set(dropped)

    def _fallen(self, target: Target, scores: np.ndarray, share: float) -> np.ndarray:
        """Which channels of a target fall; those of the lesion where by its rules, which depend on
        the scores, not as many would."""
        anatomy = self.lesioned.anatomy
        lesion = self._lesion[anatomy.unit[target.name].labels]
        fallen = falling(anatomy, target, scores, share * lesion.mean(), "floor-kept")
        return fallen if share < 1 or fallen.sum() == lesion.sum() else lesion

    def _weight(self, layer: Layer) -> Tensor:
        """A layer's weight, filters first."""
        return by_filter(layer, tensor_of(self.lesioned.network, layer.weight).detach()).double()


class GDP(Renewals):
    """By how much the loss changes without a filter (Lin et al. 2018, section 3.2).

    |Σ w · ∂L/∂w + b · ∂L/∂b| over its weights and bias, which is |Σ z · ∂L/∂z| of what it gives, L
    the mean loss of a batch of 32, averaged over 16 batches, with nothing masked and in evaluation
    mode.  The paper ranks the filters of all layers together; here each unit keeps its number.
    """

    word = "gdp"

    @torch.enable_grad()
    def scores(self, number: int) -> dict[str, Tensor]:
        network = self.lesioned.network.eval()
        before = self._masks.dropped
        self._masks.set(np.zeros_like(before))
        sums: dict[str, Tensor] = {}
        for batch in self.training.epoch(self.seed, number, TOGETHER, IMAGES):
            for name, changes in self._changes(batch).items():
                sums[name] = sums.get(name, 0) + changes.abs()
        self._masks.set(before)
        network.train()
        return sums

    def _changes(self, batch: Any) -> dict[str, Tensor]:
        """Of one batch, by layer, signed."""
        names = [name for layer in self._layers for name in (layer.weight, layer.bias) if name]
        parameters = [tensor_of(self.lesioned.network, name) for name in names]
        gradients = torch.autograd.grad(
            self.loss(self.lesioned, self.training, batch), parameters, materialize_grads=True,
            allow_unused=True,
        )  # fmt: skip
        terms = {
            name: (parameter * gradient).detach().double()
            for name, parameter, gradient in zip(names, parameters, gradients, strict=True)
        }
        return {
            layer.name: by_filter(layer, terms[layer.weight]).flatten(1).sum(1)
            + (terms[layer.bias] if layer.bias else 0)
            for layer in self._layers
        }


class DNS(Renewals):
    """Magnitudes with two thresholds (Guo et al. 2016, section 3.3, there of single weights).

    A channel is masked at or below the lower one, comes back above the upper one, and stays as it
    is between them; where that leaves too many or too few, the lowest fall and the highest stay.
    Magnitude: Σ |w| of a filter; the thresholds are set once, see `thresholds`, with the c at which
    as many are masked as the lesion says.
    """

    word = "dns"

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._thresholds: dict[Target, tuple[float, float]] = {}

    def filter_scores(self, filters: Tensor) -> Tensor:
        return filters.abs().flatten(1).sum(1)

    def ranked(self, target: Target, scores: np.ndarray, masked: np.ndarray) -> np.ndarray:
        if target not in self._thresholds:
            self._thresholds[target] = thresholds(scores, _strictness(scores, int(masked.sum())))
        low, high = self._thresholds[target]
        between = np.where(masked, 1, 2)
        standing = np.where(scores <= low, 0, np.where(scores > high, 3, between))
        return np.argsort(np.lexsort((scores, standing))).astype(float)


class Soft(Renewals):
    """The l2 norm of a filter (He et al. 2018, "soft filter pruning", algorithm 1).

    The paper sets filters to zero and trains on without a mask until they are scored again; here
    they stay masked meanwhile, and learn behind it.
    """

    word = "soft"

    def filter_scores(self, filters: Tensor) -> Tensor:
        norms: Tensor = torch.linalg.vector_norm(filters.flatten(1), dim=1)
        return norms


class AGP(Renewals):
    """Ever more channels, by magnitude (Zhu & Gupta 2017, section 3, there of single weights).

    How many are masked rises from none to what the lesion says, see `gradual`; what is masked once
    stays masked.  Magnitude: Σ |w| of a filter.
    """

    word = "agp"
    gradual = True

    def filter_scores(self, filters: Tensor) -> Tensor:
        return filters.abs().flatten(1).sum(1)

    def ranked(self, target: Target, scores: np.ndarray, masked: np.ndarray) -> np.ndarray:
        return np.where(masked, -1.0, scores)

    def share(self, progress: float) -> float:
        return gradual(1.0, progress)


WAYS: Mapping[str, type[Renewals]] = {way.word: way for way in (GDP, DNS, Soft, AGP)}


def thresholds(magnitudes: np.ndarray, strictness: float) -> tuple[float, float]:
    """0.9 t and 1.1 t, t = max(μ + c · σ, 0), of a layer's magnitudes (Guo et al. 2016).

    μ, σ: their mean and standard deviation; c: the strictness

    >>> [round(float(t), 4) for t in thresholds(np.array([0.1, 0.5, 1, 1.4]), 0.5)]
    [0.8966, 1.0958]
    """
    middle = max(magnitudes.mean() + strictness * magnitudes.std(), 0.0)
    return 0.9 * middle, 1.1 * middle


def _strictness(magnitudes: np.ndarray, count: int) -> float:
    """The c at which t lies midway between the lowest `count` magnitudes and the others."""
    ordered, spread = np.sort(magnitudes), magnitudes.std()
    middle = ordered[count - 1 : count + 1].mean()
    return float((middle - magnitudes.mean()) / spread) if spread > 0 else 0.0


def gradual(final: float, progress: float) -> float:
    """The sparsity on the way from 0 to the final one: s_f − s_f (1 − progress)³.

    >>> [round(gradual(0.9, n / 4), 4) for n in range(5)]
    [0.0, 0.5203, 0.7875, 0.8859, 0.9]
    """
    return final - final * (1 - progress) ** 3
