"""var_l2: how far the norm of a filter's map varies over images (Li et al. 2017, section 4.4)."""

import torch
from torch import Tensor

from lesion.lesions.criteria import Criterion, Filters


class VarL2(Criterion):
    """The variance over images of ‖z‖₂ over the positions of a filter's map, as the layer gives it;
    that of a population, over N images and not N − 1."""

    name = "var_l2"

    def __init__(self) -> None:
        self._moments: dict[str, tuple[int, Tensor, Tensor]] = {}

    def update(self, layer: str, activation: Tensor, gradient: Tensor | None) -> None:
        """Joins the moments of the norms so far, number, mean and squared deviations, with those of
        these images: no difference of large squares."""
        norms: Tensor = torch.linalg.vector_norm(activation.double(), dim=2)
        nothing = torch.zeros_like(norms[0])
        number, mean, squares = self._moments.get(layer, (0, nothing, nothing))
        added, total = len(norms), number + len(norms)
        gap = norms.mean(0) - mean
        squares = squares + norms.var(0, correction=0) * added + gap**2 * (number * added / total)
        self._moments[layer] = total, mean + gap * (added / total), squares

    def scores(self, filters: Filters) -> Tensor:
        """The variance over images."""
        number, _, squares = self._moments[filters.layer]
        return squares / number


score = VarL2
