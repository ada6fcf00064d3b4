"""mean_activation: what a filter gives on average (Θ_MA of Molchanov et al. 2017)."""

from torch import Tensor

from lesion.lesions.image_means import ImageMeans


class MeanActivation(ImageMeans):
    """The mean over images and positions of what the activation behind the layer gives.

    Torch-Pruning's ActivationImportance is the mean of the absolute values that the next layer
    reads, of its last batch alone (for linear layers the sum): behind ReLU the same on one batch.
    """

    name = "mean_activation"
    tap = "activated"

    def rows(self, values: Tensor) -> Tensor:
        """Each image's mean over positions."""
        return values.mean(2)


score = MeanActivation
