"""entropy: how much a filter's averages tell images apart (Luo & Wu 2017)."""

import torch
from torch import Tensor

from lesion.lesions.criteria import Criterion, Filters

BINS = 100


class Entropy(Criterion):
    """−Σ p ln p over a histogram of one number an image, the mean over positions of what the
    activation behind the layer gives; its bins, of equal width, lie between the filter's least and
    largest number.

    So a filter's scale does not count, and from n images the entropy is at most ln min(n, bins):
    below some hundred images filters tie.

    bins: how many; another number than 100 is in the name
    """

    name = "entropy"
    tap = "activated"

    def __init__(self, bins: int = BINS) -> None:
        self.bins = bins
        if bins != BINS:
            self.name = f"entropy:bins={bins}"
        self._means: dict[str, list[Tensor]] = {}

    def update(self, layer: str, activation: Tensor, gradient: Tensor | None) -> None:
        """Keeps each image's means, (images, filters)."""
        self._means.setdefault(layer, []).append(activation.double().mean(2))

    def scores(self, filters: Filters) -> Tensor:
        """The entropies, in nats.

        >>> criterion = Entropy(bins=2)
        >>> means = torch.tensor([[0.0, 0.0, 5.0], [0, 1, 5], [1, 1, 5], [1, 1, 5]])
        >>> criterion.update("conv", means[:, :, None], None)  # four images, three filters
        >>> criterion.scores(Filters("conv", torch.zeros(3, 1), None, 0))
        tensor([0.6931, 0.5623, 0.0000], dtype=torch.float64)
        """
        means = torch.cat(self._means[filters.layer])
        low, high = means.aminmax(dim=0)
        places = (means - low) / torch.where(high > low, high - low, 1) * self.bins
        bins = places.long().clamp(max=self.bins - 1)  # the largest number lies in the last bin
        counts = torch.zeros(self.bins, means.shape[1], dtype=means.dtype, device=means.device)
        shares = counts.scatter_add_(0, bins, torch.ones_like(means)) / len(means)
        entropies: Tensor = torch.special.entr(shares).sum(0)
        return entropies


score = Entropy
