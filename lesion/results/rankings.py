"""Which lesions layers are judged by, what for, and how alike others rank the layers."""

import re
from collections.abc import Iterator
from math import isnan

from lesion.errors import EvidenceError
from lesion.results.compare import compare
from lesion.results.reading import Reading
from lesion.words import signed

UNTRAINED = re.compile(r"(?:(?:bias|fold|reconstruct|bn)(?::\d+)?(?:,[a-z]+=[^,=]+)*(?:,|$))+")
AS_CUT = "as they are cut, for a network that runs like that"
MENDED = "after {}, for a network that is mended so before it runs"
TRAINED = "after {}, for a network that is retrained"
SWEEP = "where it is mended or retrained others hurt (lesion sweep --recover, then --after)"


def standing(reading: Reading) -> str:
    """Which lesions are judged and what for; and by Spearman's rank correlation of the layers'
    mean drops how alike those are that the study holds one-shot and after recoveries."""
    kind = AS_CUT if not reading.recovery else MENDED if untrained(reading.recovery) else TRAINED
    said = f"Judged by lesions {kind.format(reading.recovery)}"
    known = "; ".join(_alike(reading))
    if known:
        side = "one-shot" if reading.recovery else "after"
        return (
            f"{said}. Spearman's rank correlation of the layers' drops, with those {side}: {known}."
        )
    return f"{said}." if reading.recovery else f"{said}; {SWEEP}."


def _alike(reading: Reading) -> Iterator[str]:
    """The correlations that the study holds: of one-shot lesions with each recovery's, of
    recovered ones with the one-shot lesions."""
    ways = dict.fromkeys(lesion.recovery for lesion in reading.study.lesions)
    for way in [reading.recovery] if reading.recovery else filter(None, ways):
        try:
            compared = compare(
                reading.study, way, None, reading.criterion, reading.column, reading.damage
            )
        except EvidenceError:  # not measured both ways
            continue
        if not isnan(compared.correlation):
            correlation = signed(compared.correlation, 2)
            yield correlation if reading.recovery else f"{way} {correlation}"


def untrained(recovery: str) -> bool:
    """Whether a recovery by its name changes no weight by training.

    >>> untrained("reconstruct:512,ridge=0.01,bn"), untrained("bn,finetune:20")
    (True, False)
    """
    return UNTRAINED.fullmatch(recovery) is not None
