"""The path of a Lasso fit, from sums of products: all its prices at once."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

DEPENDENT = 1e-10  # of its square: what of a column has to lie beyond the others that take part
LEAST = 1e-12  # of the largest price: below it nothing is told from rounding


def path(products: Tensor, aims: Tensor) -> Iterator[tuple[float, Tensor]]:
    """The factors β that are best at falling prices λ, between which they are linear: from the
    price at which all are zero to that of nothing.

    They minimise ½ βᵀGβ − βᵀb + λ ‖β‖₁.  (Least angle regression with the Lasso's modification,
    Efron et al. 2004, section 3.1.)  A column that is a combination of those that take part by then
    stays at zero.

    products: G = XᵀX (columns, columns); aims: b = Xᵀy

    >>> x, y = torch.tensor([[1.0, 1.0], [1.0, -1.0]]).double(), torch.tensor([3.0, 1.0]).double()
    >>> for price, factors in path(x.T @ x, x.T @ y):
    ...     print(round(price, 9), factors.round(decimals=9).tolist())
    4.0 [0.0, 0.0]
    2.0 [1.0, 0.0]
    0.0 [2.0, 1.0]
    """
    fit = _Fit(products, aims)
    first = fit.price
    yield first, fit.factors.clone()
    while fit.price > LEAST * first:
        if fit.step() > 0:
            yield fit.price, fit.factors.clone()


class _Fit:
    """The fit at one price.

    rest: what each column is worth, b − Gβ: ±λ for the active ones, whose factors are not zero
    signs: of the active ones; root: Cholesky's, of their products
    waiting: those that may become active
    """

    def __init__(self, products: Tensor, aims: Tensor) -> None:
        self.products, self.rest, self.price = products, aims.clone(), float(aims.abs().max())
        self.factors, self.waiting = torch.zeros_like(aims), products.diagonal() > 0
        self.active, self.signs = list[int](), aims.new_zeros(0)
        self.root = products.new_zeros(0, 0)

    def step(self) -> float:
        """Goes on to the next price at which a column comes or goes; by how much it falls."""
        turn = torch.cholesky_solve(self.signs[:, None], self.root)[:, 0]
        slopes = turn @ self.products[self.active]
        coming, going = self._coming(slopes), self._going(turn)
        enters, leaves = float(coming.min()), float(going.min())
        fall = min(enters, leaves, self.price)
        self.price -= fall
        self.rest -= fall * slopes
        self.rest[self.active] = self.signs * self.price
        self.factors[self.active] += fall * turn
        if fall == leaves:
            self._leave(int(going.argmin()))
        elif fall == enters:
            self._enter(int(coming.argmin()))
        return fall

    def _coming(self, slopes: Tensor) -> Tensor:
        """By how much the price falls until it is what each waiting column is worth."""
        until = torch.full_like(self.rest, torch.inf)
        for sign in (1, -1):
            speed, gap = 1 - sign * slopes, (self.price - sign * self.rest).clamp(min=0)
            until = torch.where(speed > LEAST, torch.minimum(until, gap / speed), until)
        return until.where(self.waiting, torch.inf)

    def _going(self, turn: Tensor) -> Tensor:
        """By how much it falls until each active column's factor is zero; and never."""
        factors = self.factors[self.active]
        until = torch.where(factors * turn < 0, -factors / turn, torch.inf)
        return torch.cat([until, until.new_tensor([torch.inf])])

    def _enter(self, column: int) -> None:
        """A column more, unless it depends on the active ones."""
        square, others = self.products[column, column], self.products[self.active, column]
        explained = torch.linalg.solve_triangular(self.root, others[:, None], upper=False)[:, 0]
        rest = square - explained @ explained
        self.waiting[column] = False
        if rest > DEPENDENT * square:
            corner = torch.cat([explained, rest.sqrt()[None]])[None]
            self.root = torch.cat([functional.pad(self.root, (0, 1)), corner])
            self.signs = torch.cat([self.signs, self.rest[column].sign()[None]])
            self.active.append(column)

    def _leave(self, place: int) -> None:
        """An active column less."""
        column = self.active.pop(place)
        self.factors[column], self.waiting[column] = 0.0, True
        self.signs = torch.cat([self.signs[:place], self.signs[place + 1 :]])
        self.root = torch.linalg.cholesky(self.products[self.active][:, self.active])
