"""Where a network can be cut: sensitive layers, skip list, and rates by stage and by layer."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any

import pandas as pd

from lesion.harmless import line
from lesion.lesions.amounts import FILTERS, Amounts
from lesion.methods import Bound
from lesion.network.anatomy import Block, Layer
from lesion.words import percent, points, scored

CAVEAT = (
    "These rates say what this network, as it is, loses at once. From CIFAR scale up, accuracy "
    "before retraining is barely correlated with accuracy after it (Feng et al. 2024): one-shot "
    "sensitivity is a measurement, not a forecast of the retrained network."
)
RECOVERED = (
    "These rates say what this network loses where one layer is cut and {} follows. Of layers that "
    "are cut together it mends less: measure them (`lesion refine --recover`)."
)
ALONE = (
    "These amounts say what this network loses where one {0} is damaged, the others whole. Of "
    "several {0}s that are damaged together it may lose more than the sum."
)

DRAWN = (
    "These amounts say what this network loses where damage is done in the order of each draw. "
    "In another order as many may cost more or less: the draws say how far that goes."
)


@dataclass(frozen=True)
class LayerAdvice:
    """What the study says of one layer, or of another target of its kind, such as a coupled unit
    (kind "coupled").

    status: "safe" (some ratio is), "sensitive" (the lowest measured ratio fails), "undecided" (the
        images do not tell), or "unmeasured" (reason says why)
    rate: its largest safe ratio: it and all lower measured ratios are safe; of other damage the
        most harmful safe amount; 0 if none is
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
    judged: which lesions the ranking is of, what for, and how alike others rank the layers
    boundaries: how the first and last blocks of stages compare with the others, in a sentence; ""
        where there is nothing to compare
    subject: the fingerprint of the network and images, as in the study
    damage: what the layers suffer, and amounts: how much of it, in words. Stages and boundaries
        there are of filters alone: of other damage each layer stands by itself, and those that
        stand no amount are to be skipped
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
    judged: str = ""
    boundaries: str = ""
    damage: str = "filters"
    amounts: Amounts = FILTERS
    subject: Mapping[str, str] = field(default_factory=dict)

    _repr_html_ = Bound("advice_html", "lesion.reports.notebook")

    def __repr__(self) -> str:
        known = {status: 0 for status in ("safe", "sensitive", "undecided")}
        for entry in self.layers:
            if entry.status in known:
                known[entry.status] += 1
        counts = ", ".join(f"{count} {status}" for status, count in known.items() if count)
        most = f"{self.max_drop:g}" if self.column == "evaluation" else points(self.max_drop)
        return f"<Advice at {most}, {self.damage}: of its layers {counts or 'none measured'}>"

    @property
    def ranking(self) -> tuple[LayerAdvice, ...]:
        """What is safe or sensitive, the most sensitive first: by what it stands alone, whatever
        its stage takes; of two that stand the same amount the one that loses more there.  What the
        images do not tell yet has no place."""

        def stands(entry: LayerAdvice) -> tuple[bool, float, float]:
            safe = entry.status == "safe"
            harm = self.amounts.severity(entry.rate) if safe else 0.0
            return safe, harm, -(entry.drop or 0.0)

        known = [entry for entry in self.layers if entry.status in ("safe", "sensitive")]
        return tuple(sorted(known, key=stands))

    @property
    def skip(self) -> list[str]:
        """The measured layers to leave whole."""
        return [entry.layer for entry in self.layers if entry.skipped and entry.kind != "coupled"]

    @property
    def rates(self) -> dict[str, float]:
        """The largest safe ratio of each free layer.

        Branches and coupled units are not in it: a pruner that is given one layer's rate for them
        removes the channels of all layers they are tied to. Of other damage than filters the most
        harmful safe amount of each layer that has one.
        """
        if not self.prunes:
            return {entry.layer: entry.rate for entry in self.layers if entry.status == "safe"}
        measured = (entry for entry in self.layers if entry.status != "unmeasured")
        return {entry.layer: entry.rate for entry in measured if entry.kind == "free"}

    @property
    def prunes(self) -> bool:
        """Whether the damage is filters that fall."""
        return self.damage == "filters"

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
        values = asdict(self)
        del values["amounts"]  # how they read, no result
        ranking = [
            {"layer": entry.layer, "kind": entry.kind, "rate": entry.rate} for entry in self.ranking
        ]
        return {**values, "skip": self.skip, "rates": self.rates, "ranking": ranking}

    def text(self) -> str:
        """The advice in words, the caveat last."""
        return "\n".join(map(line, _lines(self)))


def _lines(advice: Advice) -> Iterator[str]:
    """Baseline and tolerance, the skip list with reasons, rates by stage, the rest, the caveat."""
    most = f"{advice.max_drop:g}" if advice.column == "evaluation" else points(advice.max_drop)
    how = "filters fall" if advice.prunes else f"the damage is {advice.damage}"
    how += f"{'' if advice.prunes else ','} by {advice.criterion}" if advice.criterion else ""
    yield (
        f"The intact network: {scored(advice.column, advice.baseline, advice.images)}. "
        f"Safe means: a drop of at most {most}; {how}. "
        f"{advice.guarantee}"
    )
    measured = [entry for entry in advice.layers if entry.status != "unmeasured"]
    if any(entry.kind != "network" for entry in measured):
        yield from _skipped(advice, measured)
    yield from _ranked(advice)
    if advice.prunes:
        yield from _by_stage(advice, measured)
    else:
        yield f"Each {advice.amounts.target} by itself:"
        yield from (f"  {entry.line}" for entry in measured if not entry.skipped)
    yield from _absent(advice)
    if advice.judged:
        yield advice.judged
    yield advice.caveat


def _skipped(advice: Advice, measured: list[LayerAdvice]) -> Iterator[str]:
    skipped = [entry for entry in measured if entry.skipped]
    title = "To skip" if advice.prunes else f"To keep {advice.amounts.spared}"
    yield f"{title} ({len(skipped) or 'none'} of {len(measured)} measured):"
    yield from (f"  {entry.line}" for entry in skipped)


def _by_stage(advice: Advice, measured: list[LayerAdvice]) -> Iterator[str]:
    yield "Rates by stage:"
    for stage in advice.stages:
        layers = len(stage.layers) + len(stage.skipped)
        without = f", without {', '.join(stage.skipped)}" if stage.layers and stage.skipped else ""
        name = f"stage {stage.stage}" if stage.stage else "stem"
        yield f"  {name}: {percent(stage.rate)} in {len(stage.layers)} of {layers} layers{without}"
    shared = [entry for entry in measured if entry.stage_rate]
    if shared:
        yield "Of these layers each by itself:"
        yield from (f"  {entry.line}" for entry in shared)
    alone = [entry for entry in measured if entry.stage_rate is None and not entry.skipped]
    if alone:
        yield "Outside the stages' rates:"
        yield from (f"  {entry.line}" for entry in alone)


def _ranked(advice: Advice) -> Iterator[str]:
    """What was measured by what it stands, the most sensitive first, and where that lies."""
    if advice.ranking:
        what = "ratio" if advice.prunes else "amount"
        by = "" if advice.amounts.only else f", by the {what} that each stands alone"
        yield f"Most sensitive first{by}:"
    for rate, entries in groupby(advice.ranking, lambda entry: entry.rate):
        none = advice.amounts.spared if advice.amounts.only else "none"
        stood = advice.amounts.text(rate) if rate or advice.prunes else none
        yield f"  {stood}: {', '.join(entry.layer for entry in entries)}"
    unknown = [entry.layer for entry in advice.layers if entry.status == "undecided"]
    if unknown:
        yield f"  not told yet: {', '.join(unknown)}"
    if advice.boundaries:
        yield advice.boundaries


def _absent(advice: Advice) -> Iterator[str]:
    """The layers that were not measured, one line a reason."""
    reasons: dict[str, list[str]] = {}
    for entry in advice.layers:
        if entry.status == "unmeasured":
            reasons.setdefault(entry.reason, []).append(entry.layer)
    if reasons:
        yield "Not measured, so without advice:"
    for reason, names in reasons.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        yield f"  {', '.join(names[:3])}{more}: {reason}"


def where(layer: Layer | Block) -> str:
    """Where a layer or block is, in words.

    For the first of a stage that down-samples "first of stage 2, down-sampling"; else "stage 2",
    "stem" where the network has blocks and this comes before them, and nothing after the last.
    """
    if not layer.stage:
        return "" if layer.stage is None else "stem"
    flags = [
        f"{flag} {layer.stage}" if flag.endswith("of stage") else flag for flag in layer.position
    ]
    return ", ".join(flags) or f"stage {layer.stage}"
