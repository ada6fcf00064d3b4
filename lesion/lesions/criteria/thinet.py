"""thinet: channels go whose loss changes the next layers' outputs least (Luo et al. 2017)."""

import torch
from torch import Tensor

from lesion.lesions.contribution_sums import ContributionSums
from lesion.lesions.criteria import Group


class ThiNet(ContributionSums):
    """The order of a greedy removal: to the removed channels T that one is added with which
    ‖Σ_{j ∈ T} x_j‖², the squared change of the consumers' outputs, is least (section 3.2,
    equation 6); x_j is what channel j adds to an output.  A channel's score is its place in this
    order, from 0.

    The authors' outputs are one filter each at ten random positions of an image, as here.  Their
    code of 2018 goes the other way, by orthogonal matching pursuit; their scaling of what stays is
    the recovery `reconstruct` here, which fits all weights.

    A layer's part in a sum (a branch) is scored by what comes of the sum's channels.
    """

    name = "thinet"

    def scores(self, group: Group) -> Tensor:
        """Places in the order of removal."""
        return removal_order(self.products(group))


def removal_order(products: Tensor) -> Tensor:
    """When each channel goes, from the products of two channels' contributions, summed.

    >>> rows = torch.tensor([[1.0, -1.0, 0.5], [2.0, -2.0, 0.5]], dtype=torch.float64)
    >>> removal_order(rows.T @ rows).tolist()  # 0.5, then 2.5 rather than 8.5
    [2.0, 1.0, 0.0]
    """
    places = torch.zeros(len(products), dtype=torch.float64)
    cost = products.diagonal().clone()  # of a channel with those that are gone, less theirs alone
    for place in range(len(products)):
        channel = int(cost.argmin())
        places[channel] = place
        cost += 2 * products[channel]
        cost[channel] = torch.inf
    return places


score = ThiNet
