"""apoz: how often a filter gives zero; those that give it most often go first (Hu et al. 2016)."""

from torch import Tensor

from lesion.lesions.image_means import ImageMeans


class Apoz(ImageMeans):
    """Minus the average percentage of zeros: −(the share of a = 0 over images and positions), from
    −1 to 0.  The zeros are those of the network's own activation behind the layer (and its batch
    norm), so that layers without one, or with one that has no exact zeros, have none.

    NNI up to 2.9 put a ReLU of its own behind the convolution, before the batch norm.
    """

    name = "apoz"
    tap = "rectified"

    def rows(self, values: Tensor) -> Tensor:
        """Minus each image's share of zeros."""
        return -(values == 0).double().mean(2)


score = Apoz
