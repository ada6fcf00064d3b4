"""The scores of a target's channels: what a criterion says of each layer, brought together."""

import numpy as np
from torch import Tensor

from lesion.anatomy import Layer
from lesion.criteria import Filters, criterion
from lesion.dissect import Dissection
from lesion.errors import LesionError
from lesion.graph import Ref


def scores(dissection: Dissection, target: str, kind: str, name: str, seed: int = 0) -> np.ndarray:
    """One score a channel of the target, in order of its labels (of its filters for a branch).

    A unit that one layer makes has the layer's own scores (summed where several of its filters fall
    together).  Where several layers shape a channel, its score is the sum of theirs, each divided
    by its layer's mean, so that no layer counts more for having larger weights.

    Raises LesionError where the criterion fits none of the layers.
    """
    anatomy = dissection.anatomy
    if kind == "branch":
        return of_layer(dissection, anatomy.layer[target], name, seed)
    unit = anatomy.unit[target]
    total, problem = np.zeros(unit.channels), LesionError("")
    counted = False
    for member in unit.layers:
        try:
            own = of_layer(dissection, anatomy.layer[member], name, seed)
        except LesionError as error:
            problem = error
            continue
        counted = True
        labels = np.array(anatomy.made_by(member)) - unit.first
        inside = (labels >= 0) & (labels < unit.channels)
        mean = abs(own[inside].mean()) if len(unit.layers) > 1 else 1.0
        np.add.at(total, labels[inside], own[inside] / (mean if mean > 0 else 1.0))
    if not counted:
        raise problem
    return total


def of_layer(dissection: Dissection, layer: Layer, name: str, seed: int = 0) -> np.ndarray:
    """The criterion's score of each of a layer's filters."""
    weight = dissection.graph.parameters[layer.weight]
    if layer.kind.startswith("transposed"):
        grouped = weight.reshape(layer.groups, -1, *weight.shape[1:])
        weight = grouped.transpose(1, 2).flatten(0, 1)
    filters = Filters(layer.name, weight, _scale(dissection, layer), seed)
    found: np.ndarray = criterion(name)(filters).cpu().numpy()
    return found


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
