"""Judging a study: sensitive layers, skip list, and rates by stage and by layer."""

from fractions import Fraction
from itertools import groupby
from typing import Any

import pandas as pd

from lesion.advice import Advice, LayerAdvice, StageAdvice
from lesion.anatomy import Anatomy, Layer
from lesion.curves import curves, proportion
from lesion.errors import EvidenceError, LesionError
from lesion.evidence import FAILING, SAFE, UNDECIDED, Cell, Evidence, Tolerance
from lesion.study import Study
from lesion.wording import grouped, place, points, rounded


def recommend(
    study: Study,
    max_drop: float = 1.0,
    confidence: float = 95,
    criterion: str | None = None,
    column: str = "top1",
) -> Advice:
    """Which layers to skip, and what rates the others take, if `max_drop` points may be lost.

    A ratio is safe where its interval at `confidence` per cent ends at or below `max_drop`, failing
    where it begins above it, else undecided. A layer's rate is its largest safe ratio below which
    all measured ratios are safe. The rate of a stage is, of its free layers' rates, the one that
    removes most of the stage's own MACs (the sum over the layers with that rate or more, and the
    depthwise layers that follow them, of MACs × pruned / channels; at a tie the one that skips
    fewer); layers below it are skipped. Branches, coupled units and layers outside stages stand
    alone and are skipped at rate 0.

    `criterion` None means "l1" where that was measured, else the first that was. Where several
    seeds or roundings were measured, the worst counts.

    Raises LesionError for a tolerance outside 0 to 100 or an unknown criterion, and EvidenceError
    where there are no images, or too few to call any ratio of any layer safe or failing.
    """
    if not 0 <= max_drop < 100:
        raise LesionError(
            f"Expected a tolerance in points, from 0 to below 100, such as 1, got {max_drop}."
        )
    tolerance = Tolerance(max_drop, proportion(confidence), len(study.header.order))
    intact = study.intact()
    if not len(intact):
        raise EvidenceError(
            f"Expected measured images in {study.path}, but it holds none: run the sweep first."
        )
    criterion = _criterion(study, criterion)
    frame = curves(study, column, confidence)
    found = _evidence(frame[(frame["criterion"] == criterion) & frame["ratio"].notna()], tolerance)
    _enough(found, tolerance, len(intact))
    stages = _stages(study.anatomy, found)
    baseline = 100 * float(getattr(intact.outcomes, column).mean())
    return Advice(
        max_drop, confidence, column, criterion, len(intact), baseline,
        _layers(study, found, {entry.stage: entry for entry in stages}, criterion), stages,
    )  # fmt: skip


def _criterion(study: Study, asked: str | None) -> str:
    measured = list(dict.fromkeys(lesion.criterion for lesion in study.lesions))
    if asked is None and measured:
        return "l1" if "l1" in measured else measured[0]
    if asked in measured:
        return str(asked)
    raise EvidenceError(
        f"Expected one of the criteria that {study.path} holds ({', '.join(measured) or 'none'}), "
        f"got {asked}: sweep with that criterion, or name another."
    )


def _evidence(frame: pd.DataFrame, tolerance: Tolerance) -> list[Evidence]:
    """One entry a target and kind; of several lesions at one ratio the worst."""
    order = {(row.layer, row.kind): place for place, row in enumerate(frame.itertuples())}
    frame = frame.assign(worst=frame["high"].fillna(float("inf"))).sort_values("worst")
    frame = frame.drop_duplicates(["layer", "kind", "ratio"], keep="last")
    frame = frame.assign(at=[order[key] for key in zip(frame["layer"], frame["kind"], strict=True)])
    rows = frame.sort_values(["at", "ratio"]).itertuples()
    return [
        Evidence(target, kind, tuple(_cell(row) for row in group), tolerance)
        for (target, kind), group in groupby(rows, key=lambda row: (row.layer, row.kind))
    ]


def _cell(row: Any) -> Cell:
    counts = (0, 0, 0, 0)
    if not row.reason:
        both = round(row.images * row.accuracy / 100) - row.repaired
        counts = (both, row.broken, row.repaired, row.images - both - row.broken - row.repaired)
    return Cell(
        row.ratio, row.pruned, row.channels, row.drop, row.low, row.high, counts, row.reason
    )


def _enough(found: list[Evidence], tolerance: Tolerance, images: int) -> None:
    """Refuse where not one target is safe at some ratio or fails at its lowest."""
    if any(_status(evidence) != UNDECIDED for evidence in found):
        return
    cells = [evidence.limit for evidence in found if evidence.limit]
    needed = [n for cell in cells if (n := cell.needed(tolerance, 10**7)) is not None]
    more = (
        f"about {grouped(rounded(min(needed)))} would settle a first one"
        if needed
        else "no number of images in reach would"
    )
    raise EvidenceError(
        f"Expected one layer at least to lose surely more or surely less than "
        f"{points(tolerance.max_drop)}, but {grouped(images)} images settle none: {more}; "
        "measure more images, or allow another drop."
    )


def _stages(anatomy: Anatomy, found: list[Evidence]) -> tuple[StageAdvice, ...]:
    members: dict[int, list[Evidence]] = {}
    for evidence in found:
        stage = anatomy.layer[evidence.target].stage if evidence.kind == "free" else None
        if stage is not None:
            members.setdefault(stage, []).append(evidence)
    return tuple(_stage(anatomy, stage, members[stage]) for stage in sorted(members))


def _stage(anatomy: Anatomy, stage: int, members: list[Evidence]) -> StageAdvice:
    def macs_of(unit: str) -> int:
        return sum(layer.macs for layer in anatomy.layers if layer.unit == unit)

    def gain(rate: float) -> tuple[Fraction, int]:
        takers = [member for member in members if member.rate >= rate]
        macs = sum(macs_of(member.target) * Fraction(*member.removed(rate)) for member in takers)
        return Fraction(macs), len(takers)

    rate = max({member.rate for member in members}, key=gain)
    takers = tuple(m.target for m in members if m.rate >= rate and m.rate > 0)
    skipped = tuple(m.target for m in members if m.target not in takers)
    return StageAdvice(stage, rate, takers, skipped)


def _layers(
    study: Study, found: list[Evidence], stages: dict[int, StageAdvice], criterion: str
) -> tuple[LayerAdvice, ...]:
    """One entry a measured target, and one a layer without measurement, in order of execution."""
    anatomy = study.anatomy
    at = {name: place for place, name in enumerate(anatomy.layer)}
    starts = {unit.name: at[unit.layers[0]] for unit in anatomy.units if unit.layers}
    entries = [_measured(anatomy, evidence, stages) for evidence in found]
    seen = {evidence.target for evidence in found if evidence.kind != "coupled"}
    units = {evidence.target for evidence in found if evidence.kind in ("free", "coupled")}
    reasons = {skip.target: skip.reason for skip in reversed(study.skipped)}
    for layer in anatomy.layers:
        if layer.name not in seen:
            why = reasons.get(layer.name) or anatomy.unit[layer.unit].reason
            why = why or f"the study has no lesion of it by {criterion}"
            why = f"its filters fall with unit {layer.unit}" if layer.unit in units else why
            entries.append(_unmeasured(anatomy, layer, why))
    names = {"coupled": {**at, **starts}}
    return tuple(
        sorted(entries, key=lambda entry: (names.get(entry.kind, at)[entry.layer], entry.kind))
    )


def _measured(
    anatomy: Anatomy, evidence: Evidence, stages: dict[int, StageAdvice]
) -> LayerAdvice:  # fmt: skip
    layer = None if evidence.kind == "coupled" else anatomy.layer[evidence.target]
    stage = layer.stage if layer else None
    top = evidence.chain[-1] if evidence.chain else None
    shared, skipped = None, evidence.rate == 0
    if evidence.kind == "free" and stage is not None:
        skipped = evidence.target in stages[stage].skipped
        shared = 0.0 if skipped else stages[stage].rate
    return LayerAdvice(
        evidence.target, layer.number if layer else None, stage,
        layer.unit if layer else evidence.target, evidence.kind, _status(evidence), evidence.rate,
        shared, skipped, top.drop if top else None, top.low if top else None,
        top.high if top else None, _reason(evidence, layer, skipped, stages),
    )  # fmt: skip


def _status(evidence: Evidence) -> str:
    if evidence.chain:
        return SAFE
    failing = evidence.cells[0].verdict(evidence.tolerance) == FAILING
    return "sensitive" if failing else UNDECIDED


def _reason(
    evidence: Evidence, layer: Layer | None, skipped: bool, stages: dict[int, StageAdvice]
) -> str:
    """Where it is, how far it is safe, and what stops it: the last first where it is skipped."""
    noun = "outputs" if layer and layer.kind == "linear" else "filters"
    shared = stages[layer.stage].rate if layer and layer.stage in stages else 0.0
    parts = [evidence.safe_words(), evidence.stop_words(noun, shared if skipped else 0.0)]
    if skipped:
        parts.reverse()
    parts.insert(0, place(layer) if layer else "coupled unit")
    if evidence.kind == "branch":
        parts.append("measured as a branch, not to be removed alone")
    return "; ".join(part for part in parts if part)


def _unmeasured(anatomy: Anatomy, layer: Layer, why: str) -> LayerAdvice:
    kind = anatomy.unit[layer.unit].kind
    kind = "branch" if kind == "coupled" else kind
    return LayerAdvice(
        layer.name, layer.number, layer.stage, layer.unit, kind,
        "unmeasured", 0.0, None, False, None, None, None, why,
    )  # fmt: skip
