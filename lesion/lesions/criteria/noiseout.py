"""noiseout: filters go that are most correlated with another (Babaeizadeh et al. 2017)."""

import torch
from torch import Tensor

from lesion.lesions.criteria import Filters
from lesion.lesions.filter_products import FilterProducts


class NoiseOut(FilterProducts):
    """The place of each filter in an order of removal: of the two with the largest |correlation|
    that are still there the one that varies less goes; what never varies goes first.

    Correlations are of what the activation behind the layer gives, over images and positions.  The
    authors take neurons of linear layers, and fold what falls into the other of the pair: the
    recovery `fold` here.  (Their noise outputs, a way of training, are not part of it.)
    """

    name = "noiseout"

    def scores(self, filters: Filters) -> Tensor:
        """Places in the order of removal, from 0."""
        products, means, _ = self.products(filters)
        return removal_order(products - torch.outer(means, means))


def removal_order(covariance: Tensor) -> Tensor:
    """When each filter goes, from 0.

    >>> removal_order(torch.tensor([[1.0, 2.0, 0.1], [2.0, 4.0, 0.1], [0.1, 0.1, 1.0]])).tolist()
    [0.0, 2.0, 1.0]
    """
    count, variances = len(covariance), covariance.diagonal()
    floor = 1e-12 * variances.max().clamp(min=1e-300)
    order: list[int] = (variances <= floor).nonzero().reshape(-1).tolist()
    gone, spread = set(order), variances.clamp(min=floor).sqrt()
    first, second = torch.triu_indices(count, count, offset=1)
    strength = (covariance / torch.outer(spread, spread))[first, second].abs()
    for pair in strength.argsort(descending=True, stable=True).tolist():
        both = int(first[pair]), int(second[pair])
        if not gone.intersection(both):
            order.append(min(both, key=lambda filter_: float(variances[filter_])))
            gone.add(order[-1])
    order += [filter_ for filter_ in range(count) if filter_ not in gone]
    places = torch.zeros(count, dtype=torch.float64)
    places[torch.tensor(order)] = torch.arange(count, dtype=torch.float64)
    return places


score = NoiseOut
