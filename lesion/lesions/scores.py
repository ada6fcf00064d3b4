"""The scores of a target's channels: what a criterion says of each layer, brought together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lesion.errors import LesionError, first_line
from lesion.lesions.criteria import Chosen, Filters, GroupCriterion, criterion
from lesion.lesions.groups import Groups, by_filter
from lesion.lesions.lesion import Target
from lesion.lesions.ratios import labels_of
from lesion.network.anatomy import Layer
from lesion.network.dissection import Dissection
from lesion.network.graph import Ref


@dataclass(frozen=True, eq=False)
class Scorer:
    """A criterion at work on a traced network; one that needs images has seen them by now.

    reasons: of the layers that it could not see (of a criterion that needs removals: by their keys,
        the targets), why
    """

    dissection: Dissection
    criterion: Chosen
    seed: int = 0
    reasons: Mapping[str, str] = field(default_factory=dict)

    def scores(self, target: Target) -> np.ndarray:
        """One score a channel of the target, in order of its labels (of its filters for a branch).

        A criterion of groups scores the target's channels.  Of others:
        A unit that one layer makes has the layer's own scores (summed where several of its filters
        fall together).  Where several layers shape a channel, its score is the sum of theirs, each
        divided by its layer's mean, so that no layer counts more for having larger weights.  A
        criterion that needs removals scores the target's own channels, whoever makes them.

        Raises LesionError where the criterion fits none of the layers.
        """
        anatomy, chosen = self.dissection.anatomy, self.criterion
        if isinstance(chosen, GroupCriterion):
            group, order = self._groups.of(target, self.seed)
            scores = self._numbers(lambda: chosen.scores(group), group.channels, "channels")
            return np.asarray(scores[order])
        if chosen.needs == "removals":
            count = len(labels_of(anatomy, target))
            return self._of_filters(Filters(target.key, torch.zeros(count, 0), None, self.seed))
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
        if isinstance(self.criterion, GroupCriterion):
            return self.scores(Target(layer.name, "layer"))
        weight = by_filter(layer, self.dissection.graph.parameters[layer.weight])
        scale = _scale(self.dissection, layer)
        return self._of_filters(Filters(layer.name, weight, scale, self.seed))

    def _of_filters(self, filters: Filters) -> np.ndarray:
        """One score a filter. Raises LesionError where the criterion could not see the layer."""
        if filters.layer in self.reasons:
            raise LesionError(self.reasons[filters.layer])
        chosen = self.criterion
        assert not isinstance(chosen, GroupCriterion)
        return self._numbers(lambda: chosen.scores(filters), len(filters.weight), "filters")

    def _numbers(self, scores: Callable[[], Tensor], count: int, kind: str) -> np.ndarray:
        """What the criterion answers of so many filters or channels."""
        try:
            numbers: np.ndarray = scores().double().cpu().numpy()
        except LesionError:
            raise
        except Exception as error:  # a user's criterion may raise anything
            raise LesionError(
                f"criterion {self.criterion.name} fails ({type(error).__name__}: "
                f"{first_line(error)})"
            ) from error
        if numbers.shape != (count,):
            raise LesionError(
                f"criterion {self.criterion.name} gives {numbers.shape} scores for its "
                f"{count} {kind}"
            )
        return numbers

    @cached_property
    def _groups(self) -> Groups:
        return Groups(self.dissection)


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
