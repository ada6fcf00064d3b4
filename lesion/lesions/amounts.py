"""Amounts of a kind of damage: which there are, how they read, and which of them hurt more."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from lesion.errors import LesionError

RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Amounts:
    """What the numbers of a kind of damage mean.

    A study remembers it, so that its lesions are told apart, put in order and named wherever it is
    read, whether or not the damage is installed there.

    grid: what is measured where nothing else is asked for
    called: what one is called; title: of an axis of them; unit: what stands behind the number;
        scale: by which it is multiplied before it is shown; of: what follows it in a sentence,
        with "{noun}" for the layer's filters or outputs
    rising: whether larger amounts do more harm, as ratios do and bits do not
    low, high: between which amounts lie, both excluded, high included where it is closed; whole:
        whether they are whole numbers
    example: a sentence of help
    spared: how what stands no amount is to be kept, such as "in 32 bits"
    target: what suffers it, such as "layer"
    only: of a damage that is done or not, with 1 as the one amount, what it does, such as
        "deleted"; then `of` stands for the amount in a sentence

    >>> bits = Amounts((8, 6, 4), "bit width", "bits of weights", "bits", rising=False, high=33)
    >>> bits.text(4), bits.phrase(4), bits.sort([4, 2, 8]), bits.up_to
    ('4 bits', '4 bits', [8, 4, 2], 'down to')
    """

    grid: tuple[float, ...]
    called: str
    title: str
    unit: str = ""
    scale: float = 1.0
    of: str = ""
    rising: bool = True
    low: float = 0.0
    high: float = float("inf")
    whole: bool = False
    example: str = ""
    closed: bool = False
    spared: str = "whole"
    target: str = "layer"
    only: str = ""

    @property
    def up_to(self) -> str:
        """Towards more harm, in words."""
        return "when" if self.only else "up to" if self.rising else "down to"

    @property
    def worst(self) -> str:
        """What is safe at most, in words."""
        return self.only or "most harmful amount"

    @property
    def axis(self) -> str:
        """The title of an axis of shown amounts."""
        return f"{self.title} ({self.unit})" if self.unit == "%" else self.title

    def severity(self, amount: float) -> float:
        """A number that rises with the harm."""
        return amount if self.rising else -amount

    def sort(self, amounts: Sequence[float]) -> list[float]:
        """In order of harm, the least first, each once."""
        return sorted(set(amounts), key=self.severity)

    def shown(self, amount: float) -> float:
        """The number as it is shown."""
        return self.scale * amount

    def text(self, amount: float) -> str:
        """An amount with its unit.

        >>> FILTERS.text(0.125)
        '12.5 %'
        """
        shown = self.shown(amount)
        unit = self.unit.removesuffix("s") if shown == 1 else self.unit
        return self.only or f"{shown:.4g} {unit}".rstrip()

    def phrase(self, amount: float, noun: str = "filters") -> str:
        """An amount in a sentence.

        >>> FILTERS.phrase(0.3)
        '30 % of its filters'
        """
        return self.of if self.only else self.text(amount) + self.of.replace("{noun}", noun)

    def check(self, amounts: Sequence[float]) -> None:
        """Raises LesionError unless there are amounts, all of which can be."""
        for amount in amounts:
            whole = not self.whole or float(amount).is_integer()
            below = amount < self.high or (self.closed and amount == self.high)
            if not (self.low < amount and below and whole):
                raise LesionError(f"Expected {self._range()}, got {amount:g}; {self.example}")
        if not amounts:
            ends = (self.grid[0], self.grid[len(self.grid) // 2], self.grid[-1])
            usual = ",".join(f"{amount:g}" for amount in ends)
            raise LesionError(f"Expected at least one {self.called}, got none; try {usual}.")

    def _range(self) -> str:
        kind = "whole " if self.whole else ""
        return f"{kind}{self.called}s between {self.low:g} and {self.high:g}"

    @classmethod
    def from_json(cls, text: str) -> "Amounts":
        """What a study remembers. Raises ValueError or TypeError for anything else."""
        values: dict[str, Any] = json.loads(text)
        found = cls(**{**values, "grid": tuple(values["grid"])})
        for field in fields(cls):
            value, kind = getattr(found, field.name), type(getattr(FILTERS, field.name))
            if not isinstance(value, (int, float) if kind is float else kind):
                raise ValueError(f"{field.name} is no {kind.__name__}")
        return found


FILTERS = Amounts(
    RATIOS,
    "pruning ratio",
    "filters pruned",
    "%",
    100.0,
    " of its {noun}",
    high=1.0,
    example="0.3 removes 30 % of the filters.",
)
