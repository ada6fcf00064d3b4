"""How outcomes lie in a study's rows: positions and packed columns."""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from lesion.subject.outcomes import TYPES, Intact, Outcomes


def from_outcomes(outcomes: Outcomes, columns: Sequence[str]) -> tuple[int, bytes, bytes]:
    """Outcomes as the values of a row: how many images, their positions, the columns' bytes."""
    steps = np.diff(outcomes.images, prepend=-1).astype("<u4")
    content = b"".join(_packed(outcomes[name], name) for name in columns)
    return len(outcomes), zlib.compress(steps.tobytes()), content


def to_outcomes(row: Sequence[Any], columns: Sequence[str]) -> Outcomes:
    """The outcomes that `from_outcomes` made a row of.

    Raises ValueError where the row's parts do not hold as many images as it says.
    """
    count, positions, content = row
    if len(content) != sum(_size(name, count) for name in columns):
        raise ValueError(f"a row of {count} images has outcomes of another number")
    steps = _steps(positions, count)
    values, start = {}, 0
    for name in columns:
        size = _size(name, count)
        values[name] = _unpacked(content[start : start + size], name, count)
        start += size
    return Outcomes(np.cumsum(steps) - 1, values)


def _steps(positions: bytes, count: int) -> np.ndarray:
    """From each position to the next, packed; no more is unpacked than so many."""
    packed = zlib.decompressobj()
    steps = np.frombuffer(packed.decompress(positions, 4 * count + 1), "<u4").astype(np.int64)
    if len(steps) != count or not packed.eof or (steps < 1).any():
        raise ValueError(f"a row of {count} images has positions of another number")
    return steps


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
    kinds = ("<i4", np.int64), ("<i4", np.int64), ("<f4", np.float32), ("<u8", np.uint64)
    values = [
        np.frombuffer(content, packed).astype(kind)
        for content, (packed, kind) in zip(row[3:], kinds, strict=True)
    ]
    if {len(value) for value in values} != {row[0]}:
        raise ValueError(f"a row of {row[0]} images has labels or margins of another number")
    return Intact(to_outcomes(row[:3], columns), *values)


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
