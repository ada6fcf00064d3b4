"""oracle: the measured change of the loss without a channel (Molchanov et al. 2017)."""

from torch import Tensor

from lesion.lesions.criteria import Filters
from lesion.lesions.image_means import ImageMeans

IMAGES = 512


class Oracle(ImageMeans):
    """|L without the channel − L|, L the mean cross-entropy of the images: one channel after the
    other is removed, alone, and the loss measured ("oracle-abs", section 2.1).

    It is what other criteria estimate, and their yardstick (`lesion criteria`).  Of a coupled unit
    a channel is removed wherever it is made; of a branch, its part in the sum.  What falls together
    may lose another amount than what falls alone: the best single order is not the best set.

    images: how many: another number than 512 is in the name, as "oracle:images=1000"; each costs a
        replay a channel.  A trained network's loss is large on few images, so that means of some
        hundred are noisy: `lesion criteria` says how far two halves of them agree

    >>> import torch
    >>> criterion = Oracle()
    >>> rises = torch.tensor([[[0.5], [-0.1]], [[-0.25], [-0.3]]])  # two images, two channels
    >>> criterion.update("free/conv", rises, None)
    >>> criterion.scores(Filters("free/conv", torch.zeros(2, 0), None, 0))
    tensor([0.1250, 0.2000], dtype=torch.float64)
    """

    name = "oracle"
    needs = "removals"
    batch = 128

    def __init__(self, images: int = IMAGES) -> None:
        super().__init__()
        self.images = images
        if images != IMAGES:
            self.name = f"oracle:images={images}"

    def rows(self, values: Tensor) -> Tensor:
        """Each image's rise of the loss."""
        return values.mean(2)

    def scores(self, filters: Filters) -> Tensor:
        """The size of the mean rise."""
        return super().scores(filters).abs()


score = Oracle
