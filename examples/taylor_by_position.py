"""A criterion of one's own that sees images: Taylor's expansion, position by position.

    lesion sweep … --criterion taylor_by_position --train DATA

where a package has this module as an entry point:

    [project.entry-points."lesion.criteria"]
    taylor_by_position = "taylor_by_position"
"""

from torch import Tensor

from lesion import Criterion, Filters


class TaylorByPosition(Criterion):
    """Σ |a · g| / (N · M) over N images and M positions: changes of the loss that would cancel
    within an image count in full.

    This is what NVIDIA's code of 2019 computes where the paper (Molchanov et al. 2017), and the
    criterion `taylor`, take |·| of each image's mean: the other of two filters may go first.
    """

    name = "taylor_by_position"
    needs = "gradients"
    tap = "activated"

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._images: dict[str, int] = {}

    def update(self, layer: str, activation: Tensor, gradient: Tensor | None) -> None:
        """Adds up the changes, image by image.

        >>> import torch
        >>> criterion = TaylorByPosition()
        >>> product = torch.tensor([[[1.0, -1.0], [1.0, 0.0]], [[2.0, -1.0], [-1.0, 0.0]]])
        >>> criterion.update("conv", product, torch.ones(2, 2, 2))  # two images, two filters
        >>> criterion.scores(Filters("conv", torch.zeros(2, 1), None, 0)).tolist()
        [1.25, 0.5]
        """
        assert gradient is not None
        change = (activation.double() * gradient.double()).abs().mean(2).sum(0)
        self._sums[layer] = self._sums.get(layer, 0) + change
        self._images[layer] = self._images.get(layer, 0) + len(activation)

    def scores(self, filters: Filters) -> Tensor:
        """The layer's changes, an image's mean."""
        return self._sums[filters.layer] / self._images[filters.layer]


score = TaylorByPosition
