"""Judging a study: sensitive layers, skip list, and rates by stage and by layer."""

from collections.abc import Iterator
from fractions import Fraction
from math import isnan
from statistics import median
from typing import Any

from lesion.advice import CAVEAT, RECOVERED, Advice, LayerAdvice, StageAdvice
from lesion.aim import Aim
from lesion.anatomy import Anatomy, Layer
from lesion.curves import column_of, curves
from lesion.deciding import Decision, Decisions, Evaluated
from lesion.errors import EvidenceError, LesionError
from lesion.evidence import HOPELESS, SAFE, SENSITIVE, UNDECIDED, Cell, Evidence, Tolerance
from lesion.outcomes import EVALUATION
from lesion.plan import Lesion
from lesion.study import Study
from lesion.wording import grouped, guaranteed, percent, place, points, rounded


def recommend(
    study: Study,
    max_drop: float | None = None,
    confidence: float | None = None,
    criterion: str | None = None,
    column: str | None = None,
    guarantee: str = "study",
    recovery: str = "",
) -> Advice:
    """Which layers to skip, and what rates the others take, if `max_drop` points may be lost.

    A ratio is safe, sensitive or undecided by the sequential test of `Decisions`, and by what is
    the case where all images of the evaluation set were measured. A layer's rate is its largest
    safe ratio with no sensitive one below. The rate of a stage is, of its free layers' rates, the
    one that removes most of the stage's own MACs (the sum over the layers with that rate or more,
    and the depthwise layers that follow them, of MACs × pruned / channels; at a tie the one that
    skips fewer); layers below it are skipped; a layer that stands a ratio is taken to stand lower
    ones. Branches, coupled units and layers outside stages stand alone and are skipped at rate 0.

    max_drop, confidence: by default what the sweep was asked last, else 1 point at 95 per cent
    criterion: None means "l1" where that was measured, else the first that was; where several
        seeds or roundings were measured, the worst counts
    column: the score to judge, None for the study's own
    guarantee: "study" (with that confidence no claim of the study is wrong) or "layer" (of each
        layer on its own)
    recovery: judge the lesions that recovered in this way, such as "bn"; "" for one-shot ones

    Raises LesionError for a tolerance or confidence that cannot be, or an unknown criterion, and
    EvidenceError where there are no images, or too few to decide any ratio of any layer.
    """
    column = column_of(study, column)
    asked = next((aim for aim in reversed(study.aims) if aim.column == column), Aim())
    aim = Aim(
        asked.max_drop if max_drop is None else max_drop,
        asked.confidence if confidence is None else confidence, column, guarantee,
        asked.half_width,
    )  # fmt: skip
    aim.check()
    criterion = criterion_of(study, criterion, recovery)
    images, baseline = _intact(study, column, max_drop)
    found = _evidence(study, aim, criterion, recovery)
    _enough(found, aim, images)
    stages = _stages(study.anatomy, found)
    return Advice(
        aim.max_drop, aim.confidence, column, criterion, images, baseline,
        _layers(study, found, {entry.stage: entry for entry in stages}, criterion), stages,
        guaranteed(study, aim, criterion, recovery, _exact(study, found)),
        RECOVERED.format(recovery) if recovery else CAVEAT, _boundaries(study.anatomy, found),
    )  # fmt: skip


def _intact(study: Study, column: str, max_drop: float | None) -> tuple[int, float]:
    """How many images the intact network has seen, and its score; refuses where there is none."""
    if column == EVALUATION:
        if None not in (values := study.evaluations):
            raise EvidenceError(
                f"Expected evaluations in {study.path}, but it holds none: run the sweep first."
            )
        if max_drop is None:
            raise LesionError(
                "Expected a tolerance in the evaluation's own unit, got none; give --max-drop, "
                f"the intact network having {values[None]:.4g}."
            )
        return 0, values[None]
    intact = study.intact()
    if not len(intact):
        raise EvidenceError(
            f"Expected measured images in {study.path}, but it holds none: run the sweep first."
        )
    return len(intact), 100 * float(intact.outcomes[column].mean())


def criterion_of(study: Study, asked: str | None, recovery: str) -> str:
    """The criterion to judge, None for "l1" or the first. Raises EvidenceError for another one."""
    if not study.lesions:
        raise EvidenceError(
            f"Expected measured lesions in {study.path}, but it holds none: lesion curves says of "
            "each layer why, or sweep more layers."
        )
    ways = dict.fromkeys(lesion.recovery for lesion in study.lesions)
    if recovery not in ways:
        held = ", ".join(way or "one-shot" for way in ways)
        raise EvidenceError(
            f"Expected lesions with recovery by {recovery or 'nothing (one-shot)'}, but "
            f"{study.path} holds others ({held}): sweep with that, or name one of these."
        )
    measured = list(
        dict.fromkeys(one.criterion for one in study.lesions if one.recovery == recovery)
    )
    if asked is None and measured:
        return "l1" if "l1" in measured else measured[0]
    if asked in measured:
        return str(asked)
    raise EvidenceError(
        f"Expected one of the criteria that {study.path} holds ({', '.join(measured)}), "
        f"got {asked}: sweep with that criterion, or name another."
    )


def _evidence(study: Study, aim: Aim, criterion: str, recovery: str) -> list[Evidence]:
    """One entry a target and kind; of several lesions at one ratio the worst."""
    failed, judged = study.failed, (criterion, recovery)
    lesions = [
        one for one in study.lesions
        if (one.criterion, one.recovery) == judged and one not in failed
    ]  # fmt: skip
    kind = Evaluated if aim.column == EVALUATION else Decisions
    decisions = kind(study, aim, lesions)
    decided = {_key(one): decision for one, decision in decisions.decisions().items()}
    frame = curves(study, aim.column, aim.confidence, decisions)
    kept = (frame["criterion"] == criterion) & (frame["recovery"] == recovery)
    frame = frame[kept & frame["ratio"].notna()]
    cells: dict[tuple[str, str], dict[float, Cell]] = {}
    rows: Iterator[Any] = frame.itertuples()
    for row in rows:
        cell, own = _cell(row, decided.get(_key(row))), cells.setdefault((row.layer, row.kind), {})
        own[row.ratio] = max(own.get(row.ratio, cell), cell, key=_badness)
    tolerance = Tolerance(aim.max_drop, len(study.header.order))
    return [
        Evidence(target, kind, tuple(own[ratio] for ratio in sorted(own)), tolerance)
        for (target, kind), own in cells.items()
    ]


def _key(one: Any) -> tuple[Any, ...]:
    """What tells a lesion, or its row of the curves, from the others of its criterion."""
    if isinstance(one, Lesion):
        return one.target, one.kind, one.amount, one.rounding, one.seed
    return one.layer, one.kind, one.ratio, one.rounding, one.seed


def _cell(row: Any, decision: Decision | None) -> Cell:
    verdict = decision.verdict if decision else UNDECIDED
    return Cell(
        row.ratio, row.pruned, row.channels, row.drop, row.low, row.high, verdict, row.images,
        decision.left if decision else float("inf"), row.reason,
    )  # fmt: skip


def _badness(cell: Cell) -> tuple[int, float]:
    return (SAFE, UNDECIDED, SENSITIVE).index(cell.verdict), -1 if cell.reason else cell.drop


def _exact(study: Study, found: list[Evidence]) -> bool:
    """Whether every verdict is on all images of the evaluation set that it is about."""
    decided = [cell for evidence in found for cell in evidence.cells if cell.verdict != UNDECIDED]
    of_set = study.header.settings.get("estimand", "set") == "set"
    return of_set and all(cell.images == study.images for cell in decided)


def _enough(found: list[Evidence], aim: Aim, images: int) -> None:
    """Refuse where not one target is safe at some ratio or sensitive at its lowest."""
    if any(evidence.status != UNDECIDED for evidence in found):
        return
    cells = [evidence.limit for evidence in found if evidence.limit]
    left = min((cell.left for cell in cells), default=float("inf"))
    more = (
        f"about {grouped(rounded(int(left) + 1))} more would settle a first one"
        if left < HOPELESS
        else "no number of images in reach would"
    )
    seen = max((cell.images for cell in cells), default=0)
    raise EvidenceError(
        f"Expected one layer at least to lose surely more or surely less than "
        f"{points(aim.max_drop)}, but {grouped(seen)} of {grouped(images)} images settle none: "
        f"{more}; measure more images, or allow another drop."
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


def _boundaries(anatomy: Anatomy, found: list[Evidence]) -> str:
    """How much the blocks at the ends of stages stand, and how much the others."""
    stood: dict[str, list[float]] = {"first": [], "last": [], "others": []}
    for evidence in found:
        layer = anatomy.layer[evidence.target] if evidence.kind == "free" else None
        told = evidence.status != UNDECIDED
        if told and layer and layer.stage and layer.block is not None:
            ends = [end for end in ("first", "last") if f"{end} of stage" in layer.position]
            stood[(*ends, "others")[0]].append(evidence.rate)
    if not stood["others"] or not stood["first"] + stood["last"]:
        return ""
    said = {"first": "the first blocks of stages", "last": "the last", "others": "the others"}
    parts = [f"{said[end]} {percent(median(own))}" for end, own in stood.items() if own]
    return f"Layers stand, in the median: in {', '.join(parts)}."


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
    top = evidence.top
    shared, skipped = None, evidence.rate == 0
    if evidence.kind == "free" and stage is not None:
        skipped = evidence.target in stages[stage].skipped
        shared = 0.0 if skipped else stages[stage].rate
    return LayerAdvice(
        evidence.target, layer.number if layer else None, stage,
        layer.unit if layer else evidence.target, evidence.kind, evidence.status, evidence.rate,
        shared, skipped, top.drop if top else None, _known(top.low if top else None),
        _known(top.high if top else None), _reason(evidence, layer, skipped, stages),
    )  # fmt: skip


def _known(end: float | None) -> float | None:
    return None if end is None or isnan(end) else end


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
