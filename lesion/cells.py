"""What a study stores of one chunk: outcomes as packed bits, and the union of two of them."""

from typing import Any

import numpy as np

from lesion.errors import StudyError
from lesion.outcomes import COLUMNS, Intact, Outcomes

TOLERANCE = 1e-2  # margins of one image on two machines differ by float noise, never by this much


def from_outcomes(outcomes: Outcomes) -> tuple[Any, ...]:
    """Outcomes as the values of a row: images, three columns of packed bits, loss."""
    bits = (np.packbits(getattr(outcomes, name)).tobytes() for name in COLUMNS)
    return (len(outcomes), *bits, float(outcomes.loss))


def to_outcomes(row: tuple[Any, ...]) -> Outcomes:
    """The outcomes that `from_outcomes` made a row of; SQLite keeps a loss of NaN as NULL."""
    images, *bits, loss = row
    top1, top5, agreement = (
        np.unpackbits(np.frombuffer(blob, np.uint8), count=images).astype(bool) for blob in bits
    )
    return Outcomes(top1, top5, agreement, float("nan") if loss is None else loss)


def from_intact(intact: Intact) -> tuple[Any, ...]:
    """The intact network's chunk as the values of a row: its outcomes, labels and margins."""
    return (
        *from_outcomes(intact.outcomes),
        np.asarray(intact.label, "<i4").tobytes(),
        np.asarray(intact.prediction, "<i4").tobytes(),
        np.asarray(intact.margin, "<f4").tobytes(),
    )


def to_intact(row: tuple[Any, ...]) -> Intact:
    """The chunk that `from_intact` made a row of; labels as int64, margins as float32."""
    *outcomes, label, prediction, margin = row
    return Intact(
        to_outcomes(tuple(outcomes)),
        np.frombuffer(label, "<i4").astype(np.int64),
        np.frombuffer(prediction, "<i4").astype(np.int64),
        np.frombuffer(margin, "<f4").astype(np.float32),
    )


def join_intact(parts: list[Intact]) -> Intact:
    """Consecutive chunks of the intact network as one."""
    return Intact(
        Outcomes.join(part.outcomes for part in parts),
        np.concatenate([np.zeros(0, np.int64), *(part.label for part in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(part.prediction for part in parts)]),
        np.concatenate([np.zeros(0, np.float32), *(part.margin for part in parts)]),
    )


def first(intact: Intact, images: int | None) -> Intact:
    """The first images of the intact network's, all of them for None; a loss cut short is NaN."""
    if images is None or images >= len(intact):
        return intact
    top1, top5, agreement = (getattr(intact.outcomes, name)[:images] for name in COLUMNS)
    outcomes = Outcomes(top1, top5, agreement, loss=float("nan"))
    return Intact(
        outcomes, intact.label[:images], intact.prediction[:images], intact.margin[:images]
    )


def adds(old: Outcomes | None, new: Outcomes, name: str) -> bool:
    """Whether `new` holds more images than `old`; both must agree on those they share.

    Raises StudyError, which calls them `name`, where they do not.
    """
    if old is None:
        return True
    n = min(len(old), len(new))
    same = all(np.array_equal(getattr(old, c)[:n], getattr(new, c)[:n]) for c in COLUMNS)
    if len(old) == len(new):
        same &= bool(np.isclose(old.loss, new.loss, rtol=1e-3, atol=1e-3, equal_nan=True))
    if not same:
        raise StudyError(
            f"Expected the outcomes of {name} that are recorded, but others came: the network, "
            "device or library answers differently; measure into a new study file."
        )
    return len(new) > n


def adds_intact(old: tuple[str, Intact] | None, new: tuple[str, Intact], chunk: int) -> bool:
    """Whether a chunk's `new` (digest, intact row) holds more images than `old`.

    Raises StudyError where images, labels or margins differ on the images they share.
    """
    if old is None:
        return True
    n = min(len(old[1]), len(new[1]))
    if len(old[1]) == len(new[1]) and old[0] != new[0]:
        raise changed(chunk, f"the digest was {old[0][:12]} and is {new[0][:12]}")
    if not np.array_equal(old[1].label[:n], new[1].label[:n]):
        raise changed(chunk, "their labels are others")
    margins = old[1].margin[:n], new[1].margin[:n]
    if not np.allclose(*margins, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
        raise StudyError(
            f"Expected the intact network to answer as recorded on chunk {chunk}, but its margins "
            "differ: the network, device or library is another; measure into a new study file."
        )
    return len(new[1]) > n


def changed(chunk: int, how: str) -> StudyError:
    """The error for images that are not the same at every read."""
    return StudyError(
        f"Images change between reads: expected those of chunk {chunk} to be as first read, but "
        f"{how}; switch off random augmentation, so that an index always gives the same image."
    )
