"""How a study and its advice read: numbers, places, and the lines that are printed."""

from collections.abc import Iterator
from itertools import groupby
from math import isnan
from typing import TYPE_CHECKING

from lesion.anatomy import Layer

if TYPE_CHECKING:
    from lesion.advice import Advice
    from lesion.aim import Aim
    from lesion.allocation import Allocation
    from lesion.study import Study
    from lesion.verification import Verification

UNMEASURED = "not measured yet"
LABELS = {
    "top1": "top-1", "top5": "top-5", "agreement": "agreement with itself",
    "tv": "1 − total variation from itself", "score": "score", "evaluation": "evaluation",
}  # fmt: skip


def place(layer: Layer) -> str:
    """Where a layer is, in words.

    For the first of a stage that down-samples "first of stage 2, down-sampling"; else "stage 2",
    "stem" where the network has blocks and this comes before them, and nothing after the last.
    """
    if not layer.stage:
        return "" if layer.stage is None else "stem"
    flags = [
        f"{flag} {layer.stage}" if flag.endswith("of stage") else flag for flag in layer.position
    ]
    return ", ".join(flags) or f"stage {layer.stage}"


def percent(ratio: float) -> str:
    """A ratio in per cent.

    >>> percent(0.3), percent(0.125)
    ('30 %', '12.5 %')
    """
    return f"{100 * ratio:.4g} %"


def points(value: float) -> str:
    """Percentage points in words.

    >>> points(1), points(0.5)
    ('1 point', '0.5 points')
    """
    return f"{value:g} point{'' if value == 1 else 's'}"


def scored(column: str, mean: float, images: int) -> str:
    """How good the intact network is, in words.

    >>> scored("top1", 91.234, 2000), scored("evaluation", 0.43215, 0)
    ('91.23 % top-1 on 2 000 images', '0.4321 by its evaluation')
    """
    if column == "evaluation":
        return f"{mean:.4g} by its evaluation"
    return f"{mean:.2f} % {LABELS[column]} on {grouped(images)} images"


def signed(value: float, digits: int) -> str:
    """A number with a true minus sign and without a negative zero.

    >>> signed(-0.26, 1), signed(-0.04, 1)
    ('−0.3', '0.0')
    """
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def lost(column: str, drop: float) -> str:
    """A drop with its unit, which an evaluation has of its own.

    >>> lost("top1", 0.25), lost("evaluation", 0.00251)
    ('0.25 points', '0.00251')
    """
    return f"{drop:.4g}" if column == "evaluation" else f"{signed(drop, 2)} points"


def grouped(number: int) -> str:
    """A whole number with its thousands apart.

    >>> grouped(12000), grouped(700)
    ('12 000', '700')
    """
    return f"{number:,}".replace(",", " ")


def duration(seconds: float) -> str:
    """A time in words, to two digits.

    >>> duration(3.2), duration(95), duration(5400)
    ('3 s', '1.6 min', '1.5 h')
    """
    if seconds < 60:
        return f"{max(seconds, 1):.0f} s"
    unit, size = ("min", 60) if seconds < 3600 else ("h", 3600)
    return (
        f"{seconds / size:.2g} {unit}" if seconds < 100 * size else f"{seconds / size:.0f} {unit}"
    )


def rounded(number: int) -> int:
    """A number rounded up to two significant digits.

    >>> rounded(4032), rounded(87)
    (4100, 87)
    """
    step = int(10 ** max(0, len(str(number)) - 2))
    return -(-number // step) * step


def guaranteed(
    study: "Study", aim: "Aim", criterion: str, recovery: str = "", exact: bool = False
) -> str:
    """What the confidence is of, and of which images, in a sentence.

    exact: every verdict is on all images of the evaluation set that it is about
    """
    if aim.column == "evaluation":
        return (
            "No interval stands behind these drops: each lesion was evaluated once, as a whole, "
            "and a drop near the tolerance may be chance."
        )
    own = (criterion, recovery)
    claims = sum((lesion.criterion, lesion.recovery) == own for lesion in study.lesions)
    whose = (
        f"no claim on any of its {grouped(claims)} lesions is wrong, whatever is added or asked"
        if aim.guarantee == "study"
        else "no claim on a layer is wrong, whatever is added or asked, each layer on its own"
    )
    where = (
        f"on these {grouped(study.images)} images"
        if study.header.settings.get("estimand", "set") == "set"
        else "in the population that the images are drawn from"
    )
    after = f" Every lesion recovers by {recovery} before it is scored." if recovery else ""
    if exact:
        seen = grouped(study.images)
        return f"All {seen} images were measured: of these the verdicts are certain.{after}"
    return (
        f"With {aim.confidence:g} % confidence {whose}, {where}, whenever the sweep stopped.{after}"
    )


def advice_lines(advice: "Advice") -> Iterator[str]:
    """Baseline and tolerance, the skip list with reasons, rates by stage, the rest, the caveat."""
    measured = [entry for entry in advice.layers if entry.status != "unmeasured"]
    skipped = [entry for entry in measured if entry.skipped]
    most = f"{advice.max_drop:g}" if advice.column == "evaluation" else points(advice.max_drop)
    yield (
        f"The intact network: {scored(advice.column, advice.baseline, advice.images)}. "
        f"Safe means: a drop of at most {most}; filters fall by {advice.criterion}. "
        f"{advice.guarantee}"
    )
    yield f"To skip ({len(skipped) or 'none'} of {len(measured)} measured):"
    yield from (f"  {entry.line}" for entry in skipped)
    yield from _ranked(advice)
    yield "Rates by stage:"
    for stage in advice.stages:
        of = len(stage.layers) + len(stage.skipped)
        without = f", without {', '.join(stage.skipped)}" if stage.layers and stage.skipped else ""
        name = f"stage {stage.stage}" if stage.stage else "stem"
        yield f"  {name}: {percent(stage.rate)} in {len(stage.layers)} of {of} layers{without}"
    shared = [entry for entry in measured if entry.stage_rate]
    if shared:
        yield "Of these layers each by itself:"
        yield from (f"  {entry.line}" for entry in shared)
    alone = [entry for entry in measured if entry.stage_rate is None and not entry.skipped]
    if alone:
        yield "Outside the stages' rates:"
        yield from (f"  {entry.line}" for entry in alone)
    yield from _absent(advice)
    yield advice.caveat


def _ranked(advice: "Advice") -> Iterator[str]:
    """What was measured by what it stands, the most sensitive first, and where that lies."""
    if advice.ranking:
        yield "Most sensitive first, by the ratio that each stands alone:"
    for rate, entries in groupby(advice.ranking, lambda entry: entry.rate):
        yield f"  {percent(rate)}: {', '.join(entry.layer for entry in entries)}"
    untold = [entry.layer for entry in advice.layers if entry.status == "undecided"]
    if untold:
        yield f"  not told yet: {', '.join(untold)}"
    if advice.boundaries:
        yield advice.boundaries


def allocation_lines(found: "Allocation") -> Iterator[str]:
    """What was asked and is met, the rates, what stays whole, and what stands behind it."""
    yield (
        f"The intact network: {scored(found.column, found.baseline, found.images)}. "
        f"Asked: {found.goal}; filters fall by {found.criterion}."
    )
    for name, one, two in (
        ("MACs", found.intact.macs, found.pruned.macs),
        ("parameters", found.intact.parameters, found.pruned.parameters),
    ):
        yield f"{name}: {grouped(two)} of {grouped(one)} remain ({100 * two / one:.1f} %)"
    if found.milliseconds:
        intact, pruned, spread = found.milliseconds
        yield f"Time of a batch: {pruned:.2f} ± {spread:.2f} of {intact:.2f} ms, predicted"
    if not isnan(found.drop):
        yield (
            f"{found.known.capitalize()} drop of all together: {signed(found.drop, 2)} points, "
            f"at most {signed(found.high, 2)}"
        )
    yield f"Rates ({len(found.cut)} of {len(found.rates)} units lose channels):"
    for rate in found.cut:
        alone = f"; alone {lost(found.column, rate.drop)}"
        alone += "" if found.column == "evaluation" else f", at most {signed(rate.high, 2)}"
        yield (
            f"  {rate.unit}: {percent(rate.rate)}, {len(rate.kept)} of {rate.channels} channels "
            f"stay{'' if isnan(rate.drop) else alone}"
        )
    whole = [rate.unit for rate in found.rates if not rate.pruned]
    if whole:
        yield f"Whole: {', '.join(whole)}"
    if found.guarantee:
        yield found.guarantee


def verification_lines(found: "Verification") -> Iterator[str]:
    """Each check with its rates' costs, prediction and measurement; then what is certain."""
    for check in found.checks:
        own, verdict = check.allocation, check.verdict.upper()
        yield (
            f"Check {check.number}: {len(own.cut)} units cut, "
            f"{100 * own.pruned.macs / own.intact.macs:.1f} % of the MACs and "
            f"{100 * own.pruned.parameters / own.intact.parameters:.1f} % of the parameters remain"
        )
        measured = f"{signed(check.drop, 2)} [{signed(check.low, 2)}, {signed(check.high, 2)}]"
        if isnan(own.drop):
            yield f"  measured {measured} points"
        else:
            before = ("on the study's own images", "these") if own.measured else (
                "predicted", "the prediction",
            )  # fmt: skip
            yield (
                f"  {before[0]} {signed(own.drop, 2)} points, at most {signed(own.high, 2)}; "
                f"measured {measured}, {signed(check.gap, 2)} above {before[1]}"
            )
        yield (
            f"  {verdict} for {points(check.max_drop)} after {grouped(check.images)} of the "
            f"{grouped(check.held)} images kept back ({check.baseline:.2f} % intact)"
        )
    last = found.final
    if last.exact:
        yield (
            f"All {grouped(last.held)} images kept back were measured: of these the verdict is "
            "certain."
        )
    else:
        yield (
            f"With {found.confidence:.4g} % confidence no check of this study calls rates safe "
            f"that are not, on the {grouped(last.held)} images kept back, however many are made."
        )


def _absent(advice: "Advice") -> Iterator[str]:
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
