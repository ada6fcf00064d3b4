"""What came of checking rates on the images kept back: the joint drop, and its verdict."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lesion.allocation import Allocation
from lesion.evidence import SAFE
from lesion.harmless import line
from lesion.study import Study
from lesion.wording import verification_lines


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

    confidence: in per cent, that no check of the study claims a drop within the tolerance wrongly
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
        return "\n".join(map(line, verification_lines(self)))


def record(study: Study, check: Check) -> None:
    """Remember a check in the study."""
    study.add_check(json.dumps(check.to_dict()))


def recorded(study: Study) -> tuple[Check, ...]:
    """The checks that the study remembers."""
    return tuple(Check.from_dict(json.loads(content)) for content in study.checks)
