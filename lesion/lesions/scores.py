"""The scores of a target's channels: what a criterion says of each layer, brought together."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lesion.errors import LesionError, first_line
from lesion.lesions.criteria import Criterion, Filters, Weights, criterion
from lesion.lesions.lesion import Target
from lesion.lesions.ratios import labels_of
from lesion.network.anatomy import Layer
from lesion.network.dissect import Dissection
from lesion.network.graph import Ref


@dataclass(frozen=True, eq=False)
class Scorer:
    """A criterion at work on a traced network; one that needs images has seen them by now.

    reasons: of the layers that it could not see (of a criterion that needs removals: by their keys,
        the targets), why
    """

    dissection: Dissection
    criterion: Criterion | Weights
    seed: int = 0
    reasons: Mapping[str, str] = field(default_factory=dict)

    def scores(self, target: Target) -> np.ndarray:
        """One score a channel of the target, in order of its labels (of its filters for a branch).

        A unit that one layer makes has the layer's own scores (summed where several of its filters
        fall together).  Where several layers shape a channel, its score is the sum of theirs, each
        divided by its layer's mean, so that no layer counts more for having larger weights.  A
        criterion that needs removals scores the target's own channels, whoever makes them.

        Raises LesionError where the criterion fits none of the layers.
        """
        anatomy = self.dissection.anatomy
        if self.criterion.needs == "removals":
            empty = torch.zeros(len(labels_of(anatomy, target)), 0)
            return self._scored(Filters(target.key, empty, None, self.seed))
        if target.kind in ("branch", "layer"):
            return self.of_layer(anatomy.layer[target.name])
        unit = anatomy.unit[target.name]
        total, problem, counted = np.zeros(unit.channels), LesionError(""), False
        for member in unit.layers:
            try:
                scores = self.of_layer(anatomy.layer[member])
            except LesionError as error:
                problem = error
                continue
            counted = True
            labels = np.array(anatomy.made_by(member)) - unit.first
            inside = (labels >= 0) & (labels < unit.channels)
            mean = abs(scores[inside].mean()) if len(unit.layers) > 1 else 1.0
            np.add.at(total, labels[inside], scores[inside] / (mean if mean > 0 else 1.0))
        if not counted:
            raise problem
        return total

    def of_layer(self, layer: Layer) -> np.ndarray:
        """The criterion's score of each of a layer's filters.

        Raises LesionError where the criterion does not fit the layer.
        """
        weight = by_filter(layer, self.dissection.graph.parameters[layer.weight])
        return self._scored(Filters(layer.name, weight, _scale(self.dissection, layer), self.seed))

    def _scored(self, filters: Filters) -> np.ndarray:
        """One score a filter, or why there is none."""
        if filters.layer in self.reasons:
            raise LesionError(self.reasons[filters.layer])
        try:
            scores: np.ndarray = self.criterion.scores(filters).double().cpu().numpy()
        except LesionError:
            raise
        except Exception as error:  # a user's criterion may raise anything
            raise LesionError(
                f"criterion {self.criterion.name} fails ({type(error).__name__}: "
                f"{first_line(error)})"
            ) from error
        if scores.shape != (len(filters.weight),):
            raise LesionError(
                f"criterion {self.criterion.name} gives {scores.shape} scores for its "
                f"{len(filters.weight)} filters"
            )
        return scores


def by_filter(layer: Layer, weight: Tensor) -> Tensor:
    """A layer's weight, or what has its shape, filters first."""
    if not layer.kind.startswith("transposed"):
        return weight
    grouped = weight.reshape(layer.groups, -1, *weight.shape[1:])
    return grouped.transpose(1, 2).flatten(0, 1)


def norms(dissection: Dissection) -> dict[str, np.ndarray]:
    """The l1 norm of each filter of each layer, in order of execution."""
    scorer = Scorer(dissection, criterion("l1"))
    return {layer.name: scorer.of_layer(layer) for layer in dissection.anatomy.layers}


def _scale(dissection: Dissection, layer: Layer) -> Tensor | None:
    """The γ of the batch norm that reads the layer's output, None where there is none."""
    graph = dissection.graph
    weights = {n.index for n in graph.nodes if n.kind == "parameter" and n.name == layer.weight}
    made = {
        n.index
        for n in graph.nodes
        if len(n.args) > 1 and isinstance(n.args[1], Ref) and n.args[1].index in weights
    }
    for node in graph.nodes:
        if node.operation == "batch_norm" and node.args[0].index in made:
            gamma = node.args[1]
            return graph.parameters[graph.nodes[gamma.index].name] if gamma is not None else None
    return None
