"""Where a network can be cut: sensitive layers, skip list, and rates by stage and by layer."""

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from lesion.harmless import line
from lesion.wording import advice_lines

CAVEAT = (
    "These rates say what this network, as it is, loses at once. From CIFAR scale up, accuracy "
    "before retraining is barely correlated with accuracy after it (Feng et al. 2024): one-shot "
    "sensitivity is a measurement, not a forecast of the retrained network."
)
RECOVERED = (
    "These rates say what this network loses where one layer is cut and {} follows. Of layers that "
    "are cut together it mends less: measure them (`lesion refine --recover`)."
)


@dataclass(frozen=True)
class LayerAdvice:
    """What the study says of one layer, or of a coupled unit (kind "coupled").

    status: "safe" (some ratio is), "sensitive" (the lowest measured ratio fails), "undecided" (the
        images do not tell), or "unmeasured" (reason says why)
    rate: its largest safe ratio: it and all lower measured ratios are safe; 0 if none is
    stage_rate: the rate its stage shares, 0 where the stage skips it, None where it has no part in
        one; skipped: whether to leave it whole
    drop, low, high: points lost at `rate`, with interval; None at rate 0
    """

    layer: str
    number: int | None
    stage: int | None
    unit: str
    kind: str
    status: str
    rate: float
    stage_rate: float | None
    skipped: bool
    drop: float | None
    low: float | None
    high: float | None
    reason: str

    @property
    def line(self) -> str:
        """Number, name and reason as one line."""
        name = self.layer if self.number is None else f"{self.number} {self.layer}"
        return f"{name}: {self.reason}"


@dataclass(frozen=True)
class StageAdvice:
    """The rate that a stage's layers share, the layers that take it, and those skipped."""

    stage: int
    rate: float
    layers: tuple[str, ...]
    skipped: tuple[str, ...]


@dataclass(frozen=True)
class Advice:
    """Rates for a stated tolerance, with what they rest on; max_drop, baseline in points, per cent.

    layers: one entry for every layer of the network and every measured coupled unit
    guarantee: what the confidence is of, in words
    boundaries: how the first and last blocks of stages compare with the others, in a sentence; ""
        where there is nothing to compare
    """

    max_drop: float
    confidence: float
    column: str
    criterion: str
    images: int
    baseline: float
    layers: tuple[LayerAdvice, ...]
    stages: tuple[StageAdvice, ...]
    guarantee: str
    caveat: str = CAVEAT
    boundaries: str = ""

    @property
    def ranking(self) -> tuple[LayerAdvice, ...]:
        """What is safe or sensitive, the most sensitive first: by what it stands alone, whatever
        its stage takes; of two that stand the same ratio the one that loses more there.  What the
        images do not tell yet has no place."""
        known = [entry for entry in self.layers if entry.status in ("safe", "sensitive")]
        return tuple(sorted(known, key=lambda entry: (entry.rate, -(entry.drop or 0.0))))

    @property
    def skip(self) -> list[str]:
        """The measured layers to leave whole."""
        return [entry.layer for entry in self.layers if entry.skipped and entry.kind != "coupled"]

    @property
    def rates(self) -> dict[str, float]:
        """The largest safe ratio of each free layer.

        Branches and coupled units are not in it: a pruner that is given one layer's rate for them
        removes the channels of all layers they are tied to.
        """
        measured = (entry for entry in self.layers if entry.status != "unmeasured")
        return {entry.layer: entry.rate for entry in measured if entry.kind == "free"}

    def table(self) -> pd.DataFrame:
        """One row a layer or unit, in order of execution; rank: 1 for the most sensitive."""
        rank = {id(entry): place for place, entry in enumerate(self.ranking, 1)}
        frame = pd.DataFrame(
            [{**asdict(entry), "rank": rank.get(id(entry))} for entry in self.layers]
        )
        numbers = dict.fromkeys(("stage_rate", "drop", "low", "high"), float)
        return frame.astype({"number": "Int64", "stage": "Int64", "rank": "Int64", **numbers})

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values; what is not known is None."""
        ranking = [{"layer": own.layer, "kind": own.kind, "rate": own.rate} for own in self.ranking]
        return {**asdict(self), "skip": self.skip, "rates": self.rates, "ranking": ranking}

    def text(self) -> str:
        """The advice in words, the caveat last."""
        return "\n".join(map(line, advice_lines(self)))
