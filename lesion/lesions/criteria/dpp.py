"""dpp: filters stay that are most diverse (Mariet and Sra 2016, "Diversity Networks")."""

import torch
from torch import Tensor

from lesion.lesions.criteria import Filters
from lesion.lesions.filter_products import FilterProducts

SHARPNESS = 10.0  # β, by how many rows there are
JITTER = 0.01  # ε


class DPP(FilterProducts):
    """When each filter joins, by a greedy search, those with the largest determinant of
    L = exp(−β ‖v_i − v_j‖²) + ε I (a determinantal point process); the first has the highest score.
    v_i: what the activation behind filter i gives, a number a row; β = 10 / rows, ε = 0.01.

    L does not say which is first: it is the filter with the largest mean square.  The authors draw
    the sets, of neurons of linear layers, and fold what falls into what stays: here the recoveries
    `fold` and `reconstruct`; greedy, nothing is drawn.
    """

    name = "dpp"

    def scores(self, filters: Filters) -> Tensor:
        """From the number of filters for the first that is chosen down to 1."""
        products, _, _ = self.products(filters)
        places = greedy_order(kernel(products), int(products.diagonal().argmax()))
        return len(places) - places


def kernel(products: Tensor, jitter: float = JITTER) -> Tensor:
    """L of the means of two filters' products over rows.

    >>> kernel(torch.eye(2), jitter=0.0)  # distance² 2 a row, times 10
    tensor([[1.0000e+00, 2.0612e-09],
            [2.0612e-09, 1.0000e+00]])
    """
    squares = products.diagonal()
    distances = (squares[:, None] + squares - 2 * products).clamp(min=0)
    return torch.exp(-SHARPNESS * distances) + jitter * torch.eye(len(products)).to(products)


def greedy_order(matrix: Tensor, first: int) -> Tensor:
    """When each row joins a set whose determinant is to be large, from 0 (Chen et al. 2018).

    >>> matrix = torch.tensor([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 0.5]])
    >>> greedy_order(matrix, 0).tolist()
    [0.0, 2.0, 1.0]
    """
    matrix, chosen = matrix.double(), first
    left = matrix.diagonal().clone()  # by what the determinant grows
    roots, places = torch.zeros_like(matrix), torch.zeros_like(left)
    for place in range(len(matrix)):
        rest = matrix[chosen] - roots[:, :place] @ roots[chosen, :place]
        roots[:, place] = rest / left[chosen].clamp(min=1e-300).sqrt()
        left -= roots[:, place] ** 2
        left[chosen], places[chosen] = -torch.inf, place
        chosen = int(left.argmax())
    return places


score = DPP
