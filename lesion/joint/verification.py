"""What came of checking rates on the images kept back: the joint drop, and its verdict."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isnan
from typing import Any
from uuid import uuid4

from lesion.harmless import line
from lesion.rates.allocation import Allocation
from lesion.results.evidence import SAFE
from lesion.study.study import Study
from lesion.words import grouped, points, signed


@dataclass(frozen=True)
class Check:
    """One set of rates, applied together and measured.

    allocation: the rates, with their prediction; max_drop: the tolerance, in points
    alpha: the error that this check may make; number: the how manieth of the study's it is
    verdict: "safe", "sensitive" or "undecided"; images: seen of the `held` that are kept back
    baseline: the intact network's score on these, in per cent; drop, low, high: of the pruned
        network against it, in points
    """

    allocation: Allocation
    max_drop: float
    alpha: float
    number: int
    verdict: str
    images: int
    held: int
    baseline: float
    drop: float
    low: float
    high: float

    @property
    def gap(self) -> float:
        """The measured drop above the predicted one, in points."""
        return self.drop - self.allocation.drop

    @property
    def exact(self) -> bool:
        """Whether all images kept back were seen, so that of these the drop is certain."""
        return self.images == self.held

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {**asdict(self), "allocation": self.allocation.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Check":
        """What `to_dict` gave."""
        return cls(**{**values, "allocation": Allocation.from_dict(values["allocation"])})


@dataclass(frozen=True)
class Verification:
    """The checks of one `verify`, the last the one that counts.

    confidence: in per cent, that no check of the study claims a drop within the tolerance wrongly,
        see `confidence_in`
    """

    checks: tuple[Check, ...]
    confidence: float

    @property
    def final(self) -> Check:
        """The last check."""
        return self.checks[-1]

    @property
    def certified(self) -> bool:
        """Whether the last rates lose no more than the tolerance."""
        return self.final.verdict == SAFE

    def text(self) -> str:
        """The checks in words."""
        return "\n".join(map(line, _lines(self)))


def begin(study: Study, confidence: float) -> tuple[str, int, float]:
    """The place of a check about to be made, its number in the study, and the error it may make.

    Half of the error is for the first check, a quarter for the second, and so on: what a check may
    spend is settled, and seen by every other process, before it has measured anything.
    """

    def make(checks: Sequence[str]) -> str:
        number = max([len(checks), *(json.loads(check)["number"] for check in checks)]) + 1
        alpha = (1 - confidence / 100) * 0.5**number
        return json.dumps({"number": number, "alpha": alpha, "begun": str(uuid4())})

    place = study.begin_check(make)
    values = json.loads(place)
    return place, values["number"], values["alpha"]


def end(study: Study, place: str, check: Check | None) -> None:
    """Remember a check in its place; None where it came to nothing, so that it spends nothing."""
    study.end_check(place, None if check is None else json.dumps(check.to_dict()))


def recorded(study: Study) -> tuple[Check, ...]:
    """The checks that the study remembers; not those that were cut off, or are being made."""
    checks = [json.loads(content) for content in study.checks]
    return tuple(Check.from_dict(values) for values in checks if "begun" not in values)


def confidence_in(study: Study, confidence: float) -> float:
    """In per cent, that no check of the study is wrong, those included that may be made yet.

    confidence: of the checks that are made from now on.  It is less than that where more was spent:
    where copies of a study made checks of their own and were joined, or an earlier check was made
    with less confidence.
    """
    checks = [json.loads(content) for content in study.checks]
    last = max([len(checks), *(int(check["number"]) for check in checks)])
    left = (1 - confidence / 100) * 0.5**last
    spent = sum(float(check["alpha"]) for check in checks)
    return float(max(100 * (1 - left - spent), 0.0))


def _lines(verification: Verification) -> Iterator[str]:
    """Each check with its rates' costs, prediction and measurement; then what is certain."""
    for check in verification.checks:
        rates, verdict = check.allocation, check.verdict.upper()
        whole, left = rates.intact, rates.pruned
        yield (
            f"Check {check.number}: {len(rates.cut)} units cut, "
            f"{100 * left.macs / whole.macs:.1f} % of the MACs and "
            f"{100 * left.parameters / whole.parameters:.1f} % of the parameters remain"
        )
        if rates.footprints:
            intact, stored = rates.footprints
            yield (
                f"  weights of {len(rates.weights)} layers changed, "
                f"{100 * stored.bytes / intact.bytes:.1f} % of the stored bytes and "
                f"{100 * stored.bops / intact.bops:.1f} % of the bit operations remain"
            )
        measured = f"{signed(check.drop, 2)} [{signed(check.low, 2)}, {signed(check.high, 2)}]"
        if isnan(rates.drop):
            yield f"  measured {measured} points"
        else:
            known = "on the study's own images" if rates.measured else "predicted"
            before = "these" if rates.measured else "the prediction"
            side = "below" if check.gap < 0 else "above"
            yield (
                f"  {known} {signed(rates.drop, 2)} points, at most {signed(rates.high, 2)}; "
                f"measured {measured}, {abs(check.gap):.2f} {side} {before}"
            )
        yield (
            f"  {verdict} for {points(check.max_drop)} after {grouped(check.images)} of the "
            f"{grouped(check.held)} images kept back ({check.baseline:.2f} % intact)"
        )
    last = verification.final
    if last.exact:
        yield (
            f"All {grouped(last.held)} images kept back were measured: of these the verdict is "
            "certain."
        )
    else:
        yield (
            f"With {verification.confidence:.4g} % confidence no check of this study calls rates "
            f"safe that are not, on the {grouped(last.held)} images kept back, however many are "
            "made."
        )
