"""A criterion of one's own that sees images: the first-order Taylor expansion of the loss.

    lesion sweep … --criterion taylor --train DATA

where a package has this module as an entry point:

    [project.entry-points."lesion.criteria"]
    taylor = "taylor"
"""

import torch
from torch import Tensor

from lesion import Criterion, Filters, LesionError


class Taylor(Criterion):
    """By how much the loss changes, to first order, if a filter's activations were zero.

    Σ_n |(1/M) Σ_m a_nm · g_nm| / N over N images and M positions, divided by the Euclidean norm of
    these numbers over the layer (Molchanov et al. 2017, section 2.2, equations 7 and 8).
    """

    name = "taylor"
    needs = "gradients"
    tap = "activated"

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._images: dict[str, int] = {}

    def update(self, layer: str, activation: Tensor, gradient: Tensor | None) -> None:
        """Adds up the changes, image by image.

        >>> criterion = Taylor()
        >>> product = torch.tensor([[[1.0, -1.0], [1.0, 0.0]], [[2.0, -1.0], [-1.0, 0.0]]])
        >>> criterion.update("conv", product, torch.ones(2, 2, 2))  # two images, two filters
        >>> criterion.scores(Filters("conv", torch.zeros(2, 1), None, 0)).tolist()
        [0.4472135954999579, 0.8944271909999159]
        """
        assert gradient is not None
        change = (activation.double() * gradient.double()).mean(2).abs().sum(0)
        self._sums[layer] = self._sums.get(layer, 0) + change
        self._images[layer] = self._images.get(layer, 0) + len(activation)

    def scores(self, filters: Filters) -> Tensor:
        """The layer's changes, of Euclidean norm 1."""
        changes = self._sums[filters.layer] / self._images[filters.layer]
        norm = torch.linalg.vector_norm(changes)
        if not norm > 0:
            raise LesionError("the loss does not depend on it")
        return changes / norm


score = Taylor
