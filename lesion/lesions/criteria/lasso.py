"""lasso: channels that a sparse fit of the next layers' outputs does without (He et al. 2017)."""

import torch
from torch import Tensor

from lesion.lesions.contribution_sums import ContributionSums
from lesion.lesions.criteria import Group
from lesion.lesions.lasso_path import path


class Lasso(ContributionSums):
    """The price at which a channel's factor β_j becomes zero in ½ ‖y − Σ β_j x_j‖² + λ ‖β‖₁
    (section 3.1, equation 2): the largest λ of the path at which it is not.  x_j is what channel j
    adds to an output of a layer that reads it, y what all of the target's channels add.

    So those that stay at a ratio are those that the authors' search for a λ finds, and one path
    serves all ratios.  A channel that is a combination of others with higher prices scores 0.

    The authors fit all weights afterwards: the recovery `reconstruct` here.  A layer's part in a
    sum (a branch) is scored by what comes of the sum's channels.
    """

    name = "lasso"

    def scores(self, group: Group) -> Tensor:
        """The prices, of products of which each layer's are divided by their trace."""
        products = self.products(group)
        return prices(products, products.sum(1))


def prices(products: Tensor, aims: Tensor) -> Tensor:
    """The largest λ of the path at which each factor is not zero, see `lesion.lesions.lasso_path`.

    >>> x, y = torch.tensor([[1.0, 1.0], [1.0, -1.0]]).double(), torch.tensor([3.0, 1.0]).double()
    >>> prices(x.T @ x, x.T @ y).tolist()
    [4.0, 2.0]
    """
    largest, before = torch.zeros_like(aims), 0.0
    for price, factors in path(products, aims):
        largest[(factors != 0) & (largest == 0)] = before
        before = price
    return largest


score = Lasso
