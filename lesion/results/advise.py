"""Judging a study: sensitive layers, skip list, and rates by stage and by layer."""

from collections.abc import Collection, Iterator, Sequence
from fractions import Fraction
from math import isnan
from statistics import median

from lesion.errors import EvidenceError
from lesion.network.anatomy import Anatomy, Block, Layer
from lesion.results.advice import (
    ALONE,
    CAVEAT,
    DRAWN,
    RECOVERED,
    Advice,
    LayerAdvice,
    StageAdvice,
    where,
)
from lesion.results.evidence import HOPELESS, SENSITIVE, UNDECIDED, Evidence, gathered
from lesion.results.rankings import standing
from lesion.results.reading import Reading
from lesion.subject.outcomes import EVALUATION
from lesion.words import grouped, percent, points, rounded

WIDE = ("stage", "network")  # kinds of targets of which several blocks suffer
Stages = dict[int, StageAdvice]


def advise(reading: Reading) -> Advice:
    """The advice that a reading gives, see `lesion.recommend`."""
    aim, baseline = reading.aim, reading.baseline  # refused first where there is none
    evidence = gathered(reading)
    _enough(evidence, reading)
    stages = _stages(reading.anatomy, evidence) if reading.filters else ()
    return Advice(
        aim.max_drop,
        aim.confidence,
        aim.column,
        reading.criterion,
        reading.images,
        baseline,
        _layers(reading, evidence, {entry.stage: entry for entry in stages}),
        stages,
        _guarantee(reading, evidence),
        _caveat(reading),
        standing(reading) if reading.filters else "",
        _boundaries(reading.anatomy, evidence) if reading.filters else "",
        reading.damage,
        reading.amounts,
        dict(reading.study.header.subject),
    )


def _enough(evidence: Sequence[Evidence], reading: Reading) -> None:
    """Refuse where not one target is safe at some amount or sensitive at its lowest."""
    if any(target.status != UNDECIDED for target in evidence):
        return
    cells = [target.limit for target in evidence if target.limit]
    left = min((cell.left for cell in cells), default=float("inf"))
    more = (
        f"about {grouped(rounded(int(left) + 1))} more would settle a first one"
        if left < HOPELESS
        else "no number of images in reach would"
    )
    seen = max((cell.cost.images for cell in cells), default=0)
    raise EvidenceError(
        f"Expected one layer at least to lose surely more or surely less than "
        f"{points(reading.aim.max_drop)}, but {grouped(seen)} of {grouped(reading.images)} images "
        f"settle none: {more}; measure more images, or allow another drop."
    )


def _stages(anatomy: Anatomy, evidence: Sequence[Evidence]) -> tuple[StageAdvice, ...]:
    members: dict[int, list[Evidence]] = {}
    for target in evidence:
        stage = anatomy.layer[target.target].stage if target.kind == "free" else None
        if stage is not None:
            members.setdefault(stage, []).append(target)
    return tuple(_stage(anatomy, stage, members[stage]) for stage in sorted(members))


def _stage(anatomy: Anatomy, stage: int, members: Sequence[Evidence]) -> StageAdvice:
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


def _boundaries(anatomy: Anatomy, evidence: Sequence[Evidence]) -> str:
    """How much the blocks at the ends of stages stand, and how much the others."""
    stood: dict[str, list[float]] = {"first": [], "last": [], "others": []}
    for target in evidence:
        layer = anatomy.layer[target.target] if target.kind == "free" else None
        known = target.status != UNDECIDED
        if known and layer and layer.stage and layer.block is not None:
            ends = [end for end in ("first", "last") if f"{end} of stage" in layer.position]
            stood[(*ends, "others")[0]].append(target.rate)
    if not stood["others"] or not stood["first"] + stood["last"]:
        return ""
    said = {"first": "the first blocks of stages", "last": "the last", "others": "the others"}
    parts = [f"{said[end]} {percent(median(rates))}" for end, rates in stood.items() if rates]
    return f"Layers stand, in the median: in {', '.join(parts)}."


def _layers(
    reading: Reading, evidence: Sequence[Evidence], stages: Stages
) -> tuple[LayerAdvice, ...]:
    """One entry a measured target, and one a layer without measurement, in order of execution."""
    anatomy, reasons = reading.anatomy, _reasons(reading)
    entries = [_measured(reading, target, stages) for target in evidence]
    seen = {target.target for target in evidence if target.kind != "coupled"}
    seen.update(name for target in evidence for name in _inside(anatomy, target, reasons))
    units = {target.target for target in evidence if target.kind in ("free", "coupled")}
    for layer in anatomy.layers:
        if layer.name not in seen:
            why = reasons.get(layer.name, "")
            if reading.filters:
                why = why or anatomy.unit[layer.unit].reason
            how = reading.criterion if reading.filters else reading.damage
            why = why or f"the study has no lesion of it by {how}"
            if reading.filters and layer.unit in units:
                why = f"its filters fall with unit {layer.unit}"
            entries.append(_unmeasured(anatomy, layer, why))

    def place(entry: LayerAdvice) -> tuple[int, str]:
        return anatomy.place(entry.layer, entry.kind), entry.kind

    return tuple(sorted(entries, key=place))


def _inside(anatomy: Anatomy, target: Evidence, spared: Collection[str]) -> Iterator[str]:
    """The layers that a target of several has, or of which it damages some, but those spared."""
    blocks = {"block": (anatomy.block.get(target.target),), "network": anatomy.blocks}
    members = (name for block in blocks.get(target.kind, ()) if block for name in block.members)
    yield from (name for name in members if name not in spared)
    if target.kind == "stage":
        yield from (layer.name for layer in anatomy.stages[target.target])


def _reasons(reading: Reading) -> dict[str, str]:
    """Why layers have no lesion by the damage."""
    reasons, anatomy, damages = dict[str, str](), reading.anatomy, reading.study.damages
    for skip in reversed(reading.study.skipped):
        damage, reason = skip.told(damages)
        if (skip.kind != "layer") == reading.filters and damage in ("", reading.damage):
            inside = anatomy.stages[skip.target] if skip.kind == "stage" else ()
            reasons |= dict.fromkeys((skip.target, *(layer.name for layer in inside)), reason)
    return reasons


def _measured(reading: Reading, evidence: Evidence, stages: Stages) -> LayerAdvice:
    anatomy = reading.anatomy
    whole = evidence.kind in ("coupled", "block", *WIDE)
    layer = None if whole else anatomy.layer[evidence.target]
    place = anatomy.block[evidence.target] if evidence.kind == "block" else layer
    stage = place.stage if place else None
    if evidence.kind == "stage":
        stage = anatomy.stages[evidence.target][0].stage
    cost = evidence.top.cost if evidence.top else None
    shared = None
    skipped = evidence.rate == 0 and (reading.filters or evidence.status == SENSITIVE)
    skipped = skipped and evidence.kind != "network"  # its blocks may be spared one by one
    if evidence.kind == "free" and stage in stages:
        skipped = evidence.target in stages[stage].skipped
        shared = 0.0 if skipped else stages[stage].rate
    return LayerAdvice(
        evidence.target,
        layer.number if layer else None,
        stage,
        layer.unit if layer else evidence.target,
        evidence.kind,
        evidence.status,
        evidence.rate,
        shared,
        skipped,
        cost.drop if cost else None,
        None if cost is None or isnan(cost.low) else cost.low,
        None if cost is None or isnan(cost.high) else cost.high,
        _reason(evidence, place, skipped, stages[stage].rate if stage in stages else 0.0),
    )


def _reason(evidence: Evidence, at: Layer | Block | None, skipped: bool, shared: float) -> str:
    """Where it is, how far it is safe, and what stops it: the last first where it is skipped."""
    noun = "outputs" if isinstance(at, Layer) and at.kind == "linear" else "filters"
    ratio = shared if skipped and shared else None
    parts = [evidence.safe_words(), evidence.stop_words(noun, ratio)]
    if skipped:
        parts.reverse()
    parts.insert(0, where(at) if at else "coupled unit" if evidence.kind == "coupled" else "")
    if evidence.kind == "branch":
        parts.append("measured as a branch, not to be removed alone")
    return "; ".join(part for part in parts if part)


def _unmeasured(anatomy: Anatomy, layer: Layer, why: str) -> LayerAdvice:
    kind = anatomy.unit[layer.unit].kind
    kind = "branch" if kind == "coupled" else kind
    return LayerAdvice(
        layer.name,
        layer.number,
        layer.stage,
        layer.unit,
        kind,
        "unmeasured",
        0.0,
        None,
        False,
        None,
        None,
        None,
        why,
    )


def _guarantee(reading: Reading, evidence: Sequence[Evidence]) -> str:
    """What the confidence is of, and of which images, in a sentence."""
    aim = reading.aim
    if aim.column == EVALUATION:
        drops = [drop for drop in reading.drops.values() if not drop.reason]
        if drops and all(drop.interval == "bootstrap" for drop in drops):
            return (
                f"All {grouped(drops[0].images)} images were evaluated together: of these the "
                f"verdicts are certain. The intervals, of {aim.confidence:g} % by bootstrap over "
                "images, each lesion on its own, say what other images of their kind would give."
            )
        return (
            "No interval stands behind these drops: each lesion was evaluated once, as a whole, "
            "and a drop near the tolerance may be chance."
        )
    after = ""
    if reading.recovery:
        after = f" Every lesion recovers by {reading.recovery} before it is scored."
    seen = grouped(reading.images)
    if _exact(reading, evidence):
        return f"All {seen} images were measured: of these the verdicts are certain.{after}"
    whose = (
        f"no claim on any of its {grouped(len(reading.planned))} lesions is wrong, whatever is "
        "added or asked"
        if aim.guarantee == "study"
        else "no claim on a layer is wrong, whatever is added or asked, each layer on its own"
    )
    where = (
        f"on these {seen} images"
        if _of_set(reading)
        else "in the population that the images are drawn from"
    )
    return (
        f"With {aim.confidence:g} % confidence {whose}, {where}, whenever the sweep stopped.{after}"
    )


def _exact(reading: Reading, evidence: Sequence[Evidence]) -> bool:
    """Whether every verdict is on all images of the evaluation set that it is about."""
    cells = [cell for target in evidence for cell in target.cells if cell.verdict != UNDECIDED]
    return _of_set(reading) and all(cell.cost.images == reading.images for cell in cells)


def _of_set(reading: Reading) -> bool:
    return reading.study.header.setting("estimand") == "set"


def _caveat(reading: Reading) -> str:
    if any(lesion.kind == "network" for lesion in reading.planned):
        return DRAWN
    if not reading.filters:
        return ALONE.format(reading.amounts.target)
    return RECOVERED.format(reading.recovery) if reading.recovery else CAVEAT
