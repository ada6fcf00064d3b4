"""fisher_block: what the loss changes without a filter, to second order (Theis et al. 2018)."""

from torch import Tensor

from lesion.lesions.image_means import ImageMeans


class FisherBlock(ImageMeans):
    """½ (Σ_positions z · g)², averaged over images, of what the layer gives, z, and the gradient of
    the image's cross-entropy, g.

    This is ½ wᵀFw, w being the filter's weights with its bias and F their block of the empirical
    Fisher matrix, E[∂L/∂w (∂L/∂w)ᵀ] over images one by one: for Σ z · g = Σ w · ∂L/∂w.

    A layer that runs at several places has each image at each of them, not one sum.

    It is not the diagonal, Σ ½ w² E[(∂L/∂w)²], which takes the weights of a filter for independent
    ("hessian" in Torch-Pruning, whose 1.6 keeps the last image alone; OBD-C elsewhere): that would
    need each image's gradients of weights, which criteria do not see.
    """

    name = "fisher_block"
    needs = "gradients"

    def rows(self, values: Tensor) -> Tensor:
        """Half the square of each image's change."""
        return values.sum(2) ** 2 / 2


score = FisherBlock
