"""What criteria of filters that resemble each other have in common: sums of their products."""

import torch
from torch import Tensor

from lesion.lesions.criteria import Criterion, Filters


class FilterProducts(Criterion):
    """A criterion of Σ v_i v_j over rows, v_i what the activation behind filter i gives: a row an
    image and position (of a linear layer, an image).
    """

    tap = "activated"

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def update(self, layer: str, activation: Tensor, gradient: Tensor | None) -> None:
        """Adds up the products, and beside them those with 1."""
        rows = activation.double().transpose(0, 1).flatten(1)
        rows = torch.cat([rows, rows.new_ones(1, rows.shape[1])])
        self._sums[layer] = self._sums.get(layer, 0) + rows @ rows.T

    def products(self, filters: Filters) -> tuple[Tensor, Tensor, int]:
        """Of a layer: means of products (filters, filters), means (filters,), how many rows."""
        sums = self._sums[filters.layer].cpu()
        rows = int(sums[-1, -1])
        return sums[:-1, :-1] / rows, sums[:-1, -1] / rows, rows
