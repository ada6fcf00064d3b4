"""n_m: so many of each m weights along the inputs stay (Pool & Yu 2021: 2 of 4)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from lesion.compression.footprint import Footprint, Shape
from lesion.errors import LesionError
from lesion.lesions.amounts import Amounts
from lesion.lesions.weight_damage import WeightDamage
from lesion.network.anatomy import Layer

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(eq=False)
class NM(WeightDamage):
    """Of each m weights that follow one another along the inputs, at one position of the kernel,
    those of least size are zero; an amount is how many stay.

    m: how many; score: by what, see `lesion.compression.grains.scores`.  Sparse tensor cores halve
    the time of 2 of 4 where filters are a multiple of 8 and inputs of 16; dense kernels save none.
    """

    m: int = 4
    score: Literal["abs", "random"] = "abs"

    word = "n_m"
    slow = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.m < 2:
            raise LesionError(f"Expected m of at least 2 for n_m, got {self.m}.")
        self.amounts = Amounts(
            tuple(float(n) for n in range(self.m - 1, 0, -1)),
            "number of weights that stay",
            f"weights that stay of each {self.m}",
            f"of {self.m}",
            of=" weights",
            rising=False,
            high=self.m,
            whole=True,
            example=f"{self.m // 2} keeps {self.m // 2} of each {self.m}.",
            spared="dense",
        )

    def unfit(self, layer: Layer) -> str:
        """Where no weights follow one another along the inputs."""
        inputs = layer.channels_in // layer.groups
        return f"its filters read {inputs} input{'s' * (inputs > 1)}, fewer than {self.m}" * (
            inputs < self.m
        )

    def left(self, shape: Shape, amount: float) -> Footprint:
        """What stays, and its place among m."""
        whole, rest = divmod(shape.inputs, self.m)
        stays = whole * int(amount) + min(rest, int(amount))
        return shape.n_of_m(stays * (shape.numbers // shape.inputs), self.m)

    def change(self, shape: Shape, amount: float, seed: int) -> "Callable[[Tensor], Tensor]":
        """See `lesion.compression.grains.n_of_m`."""
        from lesion.compression.grains import n_of_m

        return partial(n_of_m, n=int(amount), m=self.m, score=self.score, seed=seed)


damage = NM()
