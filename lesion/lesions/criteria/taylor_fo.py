"""taylor_fo: the squared gradient of a gate behind the batch norm (Molchanov et al. 2019)."""

from torch import Tensor

from lesion.lesions.image_means import ImageMeans

BATCH = 64


class TaylorFO(ImageMeans):
    """((1/B) Σ_images Σ_positions n · g)² of each batch of B images, averaged over batches: the
    square of ∂L/∂gate, for a gate of 1 that multiplies what the batch norm gives, n, and the mean
    cross-entropy L of the batch.  "Gate after BN", the authors' best; they take 30 batches of 256.

    batch: B is part of the definition, for changes that cancel within a batch do not count: another
        than 64 is in the name.  taylor_fg squares image by image.

    It sees 30 batches.  A layer that runs at several places has a batch at each, not one gate.
    """

    name = "taylor_fo"
    needs = "gradients"
    tap = "normalised"

    def __init__(self, batch: int = BATCH) -> None:
        super().__init__()
        self.batch, self.images = batch, 30 * batch
        if batch != BATCH:
            self.name = f"taylor_fo:batch={batch}"

    def rows(self, values: Tensor) -> Tensor:
        """The batch's squared gradient."""
        return values.sum(2).mean(0, keepdim=True) ** 2


score = TaylorFO
