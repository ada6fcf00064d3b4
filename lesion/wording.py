"""How a study and its advice read: numbers, places, and the lines that are printed."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lesion.anatomy import Layer

if TYPE_CHECKING:
    from lesion.advice import Advice

LABELS = {"top1": "top-1", "top5": "top-5", "agreement": "agreement"}


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


def signed(value: float, digits: int) -> str:
    """A number with a true minus sign and without a negative zero.

    >>> signed(-0.26, 1), signed(-0.04, 1)
    ('−0.3', '0.0')
    """
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def grouped(number: int) -> str:
    """A whole number with its thousands apart.

    >>> grouped(12000), grouped(700)
    ('12 000', '700')
    """
    return f"{number:,}".replace(",", " ")


def rounded(number: int) -> int:
    """A number rounded up to two significant digits.

    >>> rounded(4032), rounded(87)
    (4100, 87)
    """
    step = int(10 ** max(0, len(str(number)) - 2))
    return -(-number // step) * step


def advice_lines(advice: "Advice") -> Iterator[str]:
    """Baseline and tolerance, the skip list with reasons, rates by stage, the rest, the caveat."""
    measured = [entry for entry in advice.layers if entry.status != "unmeasured"]
    skipped = [entry for entry in measured if entry.skipped]
    yield (
        f"The intact network: {advice.baseline:.2f} % {LABELS[advice.column]} on "
        f"{grouped(advice.images)} images. Safe means: the {advice.confidence:g} % interval of the "
        f"drop ends at or below {points(advice.max_drop)}; filters fall by {advice.criterion}."
    )
    yield f"To skip ({len(skipped) or 'none'} of {len(measured)} measured):"
    yield from (f"  {entry.line}" for entry in skipped)
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
