"""What rates have to meet: how much may remain, what may be lost, and which layers stand fixed."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from lesion.boundary.public import fields
from lesion.errors import LesionError
from lesion.network.anatomy import Anatomy
from lesion.words import percent, points

PER = ("unit", "layer", "stage")
LEAST = "least"
RESOURCES = {
    "macs": "MACs",
    "params": "parameters",
    "latency": "latency",
    "bytes": "stored bytes",
    "bops": "bit operations",
}


@dataclass(frozen=True)
class Budget:
    """What is asked of rates that are applied together.

    macs, params, latency, bytes, bops: the share that may remain, in (0, 1], None where it does not
        matter; one of them may be "least": then as little as can be remains, within the others
        (bytes, bops: of layers' weights and biases, see `lesion.compression.footprint`)
    max_drop: the most points that the rates together may be predicted to lose, None for any
    per: each "unit" has a rate of its own (coupled ones where they were measured), each "layer"
        (coupled units stay whole), or each "stage" has one, which its layers take or skip
    align: kept channels are a multiple of it, units with fewer stay whole; least: and no fewer
    max_rate: no unit has a higher rate, but for those that are pinned
    pins: rates of layers by name or pattern; skip: patterns of layers that stay whole
    """

    macs: float | str | None = None
    params: float | str | None = None
    latency: float | str | None = None
    max_drop: float | None = None
    per: str = "unit"
    align: int = 1
    least: int = 1
    max_rate: float = 1.0
    pins: Mapping[str, float] = field(default_factory=dict)
    skip: Sequence[str] = ()
    bytes: float | str | None = None
    bops: float | str | None = None

    def __post_init__(self) -> None:
        fields(self, *self.__dataclass_fields__)
        for name in RESOURCES:
            if isinstance(text := getattr(self, name), str):
                object.__setattr__(self, name, share(text))

    @property
    def shares(self) -> dict[str, float]:
        """The resources that are bounded, with the share that may remain."""
        bounds = {name: getattr(self, name) for name in RESOURCES}
        return {name: float(v) for name, v in bounds.items() if v is not None and v != LEAST}

    @property
    def smallest(self) -> str:
        """The resource of which as little as can be is to remain, "" for none."""
        return next((name for name in RESOURCES if getattr(self, name) == LEAST), "")

    def check(self) -> None:
        """Raises LesionError for what cannot be asked."""
        for name, share in self.shares.items():
            if not 0 < share <= 1:
                hint = f"; {share:g} % is {share / 100:g}" if 1 < share <= 100 else ""
                raise LesionError(
                    f"Expected the share of the {RESOURCES[name]} that may remain, above 0 and up "
                    f"to 100 %, got {percent(share)}{hint}."
                )
        if sum(getattr(self, name) == LEAST for name in RESOURCES) > 1:
            raise LesionError("Expected one resource to be least, got several; bound the others.")
        if not self.shares and not self.smallest:
            raise LesionError(
                "Expected a budget, got none; give the share of the MACs, parameters, latency, "
                "stored bytes or bit operations that may remain, such as 50%."
            )
        if self.smallest and self.max_drop is None and not self.shares:
            raise LesionError(
                f"Expected a bound beside the least {RESOURCES[self.smallest]}, got none; say "
                "what may be lost (max_drop), or everything would fall."
            )
        if self.max_drop is not None and not 0 <= self.max_drop < 100:
            raise LesionError(
                f"Expected a joint drop in points, from 0 to below 100, got {self.max_drop:g}."
            )
        self._check_rates()

    def check_shares(self) -> None:
        """Raises LesionError where no share is named, which rates that are refined have to keep."""
        if self.smallest:
            raise LesionError(
                "Expected a share that may remain for rates that are refined, got the least; give "
                "the share that was reached."
            )

    def _check_rates(self) -> None:
        if self.per not in PER:
            raise LesionError(f"Expected rates per {', '.join(PER)}, got '{self.per}'.")
        if self.align < 1 or self.least < 1:
            raise LesionError(
                f"Expected channels to keep of at least one, got {min(self.align, self.least)}."
            )
        if not 0 < self.max_rate <= 1:
            raise LesionError(
                f"Expected a highest rate above 0 and up to 1, got {self.max_rate:g}; 0.6 lets a "
                "layer lose 60 % of its filters at most."
            )
        for pattern, ratio in self.pins.items():
            if not 0 <= ratio < 1:
                raise LesionError(
                    f"Expected a rate from 0 to below 1 for {pattern}, got {ratio:g}; "
                    "0.3 removes 30 % of its filters."
                )

    @property
    def first(self) -> str:
        """The resource that counts first."""
        return next(iter(self.shares), self.smallest or "macs")

    def easing(self, part: float) -> "Budget":
        """With so large a part of what it cuts; what was to be least is bounded instead.

        >>> Budget(macs=0.5, params=0.8, align=8).easing(0.5)  # doctest: +ELLIPSIS
        Budget(macs=0.75, params=0.9, latency=None, max_drop=None, per='unit', align=8, ...)
        """
        shares = self.shares or {self.first: 0.0}
        eased = {name: 1 - part * (1 - share) for name, share in shares.items()}
        every: dict[str, Any] = {name: eased.get(name) for name in RESOURCES}
        return replace(self, max_drop=None, **every)

    def limits(self) -> str:
        """What rates have to keep to, in words."""
        limits = [
            f"at most {percent(share)} of the {RESOURCES[name]}"
            for name, share in self.shares.items()
        ]
        if self.max_drop is not None:
            limits.append(f"a predicted drop of at most {points(self.max_drop)}")
        if self.max_rate < 1:
            limits.append(f"no rate above {percent(self.max_rate)}")
        return " and ".join(limits)

    def words(self, predicted: bool = True) -> str:
        """What is asked, in words.

        predicted: whether what the rates lose together is, else single drops have to do

        >>> Budget(macs=0.5, max_drop=1).words()
        'at most 50 % of the MACs and a predicted drop of at most 1 point, least predicted drop'
        """
        least = "predicted drop" if predicted else "single drops"
        goal = f"least {RESOURCES[self.smallest] if self.smallest else least}"
        return f"{self.limits()}, {goal}"


def share(text: str) -> float | str:
    """A share as people write it: "50%", "0.5", or "least".

    >>> share("50%"), share("0.5"), share("least")
    (0.5, 0.5, 'least')
    """
    if text.strip() == LEAST:
        return LEAST
    if not re.fullmatch(r"\s*\d+(\.\d+)?\s*%?\s*", text):
        raise LesionError(f"Expected a share such as 50% or 0.5, or the word least, got '{text}'.")
    number = float(text.strip().rstrip("%"))
    return number / 100 if "%" in text else number


def fixed(anatomy: Anatomy, budget: Budget) -> dict[str, float]:
    """The units whose rates are pinned, with them; 0 for those that are skipped.

    Raises LesionError for a pattern that matches no layer, for a layer that cannot be removed, and
    where two patterns ask different rates of one unit.
    """
    rates: dict[str, tuple[float, str]] = {}
    for pattern, ratio in [*budget.pins.items(), *((pattern, 0.0) for pattern in budget.skip)]:
        names = [name for name in anatomy.layer if fnmatchcase(name, pattern)]
        if not names:
            raise LesionError(
                f"Expected the pattern of a layer, got '{pattern}'; lesion layers lists them."
            )
        for unit in dict.fromkeys(anatomy.layer[name].unit for name in names):
            reason = anatomy.unit[unit].reason or anatomy.unit[unit].held
            if ratio and reason:
                raise LesionError(
                    f"Expected a layer that can be removed for the rate of {pattern}, but {unit}: "
                    f"{reason}."
                )
            before, by = rates.setdefault(unit, (ratio, pattern))
            if before != ratio:
                raise LesionError(
                    f"Expected one rate for unit {unit}, but {by} asks {before:g} and {pattern} "
                    f"asks {ratio:g}; drop one of them."
                )
    return {unit: ratio for unit, (ratio, _) in rates.items()}
