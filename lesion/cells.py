"""How outcomes lie in a study's rows: positions and packed columns."""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from lesion.outcomes import TYPES, Intact, Outcomes


def from_outcomes(outcomes: Outcomes, columns: Sequence[str]) -> tuple[int, bytes, bytes]:
    """Outcomes as the values of a row: how many images, their positions, the columns' bytes."""
    steps = np.diff(outcomes.images, prepend=-1).astype("<u4")
    content = b"".join(_packed(outcomes[name], name) for name in columns)
    return len(outcomes), zlib.compress(steps.tobytes()), content


def to_outcomes(row: Sequence[Any], columns: Sequence[str]) -> Outcomes:
    """The outcomes that `from_outcomes` made a row of."""
    count, positions, content = row
    steps = np.frombuffer(zlib.decompress(positions), "<u4").astype(np.int64)
    found, start = {}, 0
    for name in columns:
        size = _size(name, count)
        found[name] = _unpacked(content[start : start + size], name, count)
        start += size
    return Outcomes(np.cumsum(steps) - 1, found)


def from_intact(intact: Intact, columns: Sequence[str]) -> tuple[Any, ...]:
    """The intact network's rows as the values of one: its outcomes, labels, margins, digests."""
    return (
        *from_outcomes(intact.outcomes, columns),
        intact.label.astype("<i4").tobytes(),
        intact.prediction.astype("<i4").tobytes(),
        intact.margin.astype("<f4").tobytes(),
        intact.digest.astype("<u8").tobytes(),
    )


def to_intact(row: Sequence[Any], columns: Sequence[str]) -> Intact:
    """What `from_intact` made a row of; labels as int64, margins as float32."""
    label, prediction, margin, digest = row[3:]
    return Intact(
        to_outcomes(row[:3], columns),
        np.frombuffer(label, "<i4").astype(np.int64),
        np.frombuffer(prediction, "<i4").astype(np.int64),
        np.frombuffer(margin, "<f4").astype(np.float32),
        np.frombuffer(digest, "<u8").astype(np.uint64),
    )


def _packed(values: np.ndarray, name: str) -> bytes:
    if TYPES[name] is np.bool_:
        return np.packbits(values).tobytes()
    return values.astype(np.dtype(TYPES[name]).newbyteorder("<")).tobytes()


def _unpacked(content: bytes, name: str, count: int) -> np.ndarray:
    if TYPES[name] is np.bool_:
        return np.unpackbits(np.frombuffer(content, np.uint8), count=count).astype(bool)
    return np.frombuffer(content, np.dtype(TYPES[name]).newbyteorder("<")).astype(TYPES[name])


def _size(name: str, count: int) -> int:
    return -(-count // 8) if TYPES[name] is np.bool_ else count * np.dtype(TYPES[name]).itemsize
