"""A layer's weight as damages change it: filters first, and with batch norm where they say so."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lesion.errors import LesionError
from lesion.lesions.edits import Weight
from lesion.lesions.groups import by_filter
from lesion.network.anatomy import Layer
from lesion.network.batch_norm_fold import foldable, norm_scale
from lesion.network.dissection import Dissection
from lesion.network.graph import Ref
from lesion.network.rules.layers import CONVOLUTIONS, LINEAR, TRANSPOSED


def changed(
    dissection: Dissection,
    layer: Layer,
    change: Callable[[Tensor], Tensor],
    key: str,
    folded: bool = False,
    keep: bool = False,
) -> Weight:
    """The edit that changes a layer's weight (filters, inputs, …), however the layer holds it.

    folded: whether what is changed is the weight with the batch norm behind it folded in; keep: see
        `lesion.lesions.edits.Weight`
    Raises LesionError where several batch norms would fold into one weight.
    """
    factors = norm_factors(dissection, layer) if folded else None
    return Weight.of(dissection, layer.name, Changed(layer, change, factors), key, keep)


@dataclass(frozen=True, eq=False)
class Changed:
    """The change of a layer's weight as the layer holds it; it can be pickled.

    factors: by which the batch norm behind it multiplies each filter, None where none is folded
    """

    layer: Layer
    change: Callable[[Tensor], Tensor]
    factors: Tensor | None = None

    def __call__(self, weight: Tensor) -> Tensor:
        """The folded weight is changed, and what folds to that is given; a filter that folds to
        zero stays as it is."""
        filters = by_filter(self.layer, weight)
        if self.factors is None:
            return by_filter(self.layer, self.change(filters))
        wide = self.factors.to(filters.device).reshape(-1, *[1] * (filters.dim() - 1))
        folded = self.change((filters.double() * wide).to(weight.dtype)).double()
        unfolded = torch.where(wide == 0, filters.double(), folded / wide)
        return by_filter(self.layer, unfolded.to(weight.dtype))


@dataclass(frozen=True)
class Remaining:
    """The change of the columns (inputs) that stay of a layer's weight, filters first; it can be
    pickled.

    columns: those that stay; the others are zero
    """

    change: Callable[[Tensor], Tensor]
    columns: tuple[int, ...]

    def __call__(self, weight: Tensor) -> Tensor:
        """The changed columns in their places."""
        columns = list(self.columns)
        changed = torch.zeros_like(weight)
        changed[:, columns] = self.change(weight[:, columns])
        return changed


def norm_factors(dissection: Dissection, layer: Layer) -> Tensor | None:
    """By what the batch norm that alone reads a layer multiplies its filters, None without one.

    Raises LesionError where the layer runs into several that differ.
    """
    graph = dissection.graph
    norms = foldable(graph, CONVOLUTIONS | TRANSPOSED | LINEAR)
    factors = list[Tensor | None]()
    for node in dissection.nodes[layer.name]:
        apart = graph.nodes[node].operation in LINEAR and layer.size  # a norm of tokens
        norm = None if apart or node not in norms else graph.nodes[norms[node]]
        if norm is None:
            factors.append(None)
            continue
        values = [
            graph.parameters[graph.nodes[value.index].name] if isinstance(value, Ref) else value
            for value in norm.args[1:6]
        ]
        factors.append(norm_scale([None, *values]))
    first = factors[0]
    for factor in factors[1:]:
        if (factor is None) != (first is None) or not (
            factor is None or first is None or torch.equal(factor, first)
        ):
            raise LesionError(
                "it runs into several batch norms, each of which would fold into another weight"
            )
    return first
