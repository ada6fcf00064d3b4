"""gdp: how much the loss changes without a filter, signs kept within it (Lin et al. 2018)."""

from torch import Tensor

from lesion.lesions.image_means import ImageMeans


class GDP(ImageMeans):
    """|Σ w · ∂L/∂w + b · ∂L/∂b| over a filter's weights and bias, L the mean cross-entropy of a
    batch of 32, averaged over 100 batches.  In evaluation mode this is
    |(1/32) Σ_images Σ_positions z · g| of what the layer gives, z, and of the gradients of each
    image's cross-entropy, g.

    - It is small where terms cancel, within a filter or a batch: not Σ |w · ∂L/∂w|.
    - Before a batch norm in training mode it is identically zero.  The paper's networks have none;
      for others taylor and taylor_fo say more.
    - The released code averages over batches, but then ranks by the last batch alone.
    - The authors rank the filters of all layers together, as the scores are, and their β is the
      share that stays.
    - A layer that runs at several places has a batch at each, not one sum.

    Torch-Pruning's GroupTaylorImportance(multivariable=True) is the same for one batch and a layer
    without bias, and adds what falls elsewhere with the filter; it takes |b · ∂L/∂b| by itself.
    """

    name = "gdp"
    needs = "gradients"
    images = 3200
    batch = 32

    def rows(self, values: Tensor) -> Tensor:
        """The size of the batch's change."""
        return values.sum(2).mean(0, keepdim=True).abs()


score = GDP
