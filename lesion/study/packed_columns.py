"""How outcomes lie in a study's rows: positions and packed columns."""

import zlib
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from lesion.subject.outcomes import TYPES, Intact, Outcomes


def from_outcomes(outcomes: Outcomes, columns: Sequence[str]) -> tuple[int, bytes, bytes]:
    """Outcomes as the values of a row: how many images, their positions, the columns' bytes."""
    steps = np.diff(outcomes.images, prepend=-1).astype("<u4")
    content = b"".join(_packed(outcomes[name], name) for name in columns)
    return len(outcomes), zlib.compress(steps.tobytes()), content


def to_outcomes(rows: Sequence[Sequence[Any]], columns: Sequence[str]) -> Outcomes:
    """The outcomes that `from_outcomes` made rows of, as one, positions rising.

    Raises ValueError where a row's parts do not hold as many images as it says.
    """
    bits = [_bits(name) for name in columns]
    steps = [_steps(positions, count) for count, positions, _ in rows]
    parts = [_parts(content, [_bytes(count, each) for each in bits]) for count, _, content in rows]
    counts = np.array([count for count, *_ in rows], np.int64)
    images = _places(b"".join(steps), counts)
    values = {
        name: _unpacked(b"".join(part[place] for part in parts), name, counts)
        for place, name in enumerate(columns)
    }
    return Outcomes(images, values).take(np.argsort(images, kind="stable"))


def _parts(content: bytes, sizes: Sequence[int]) -> list[bytes]:
    """A row's content cut into its columns."""
    ends = list(accumulate(sizes, initial=0))
    if len(content) != ends[-1]:
        raise ValueError("a row's outcomes are of another number of images")
    return [content[start:end] for start, end in pairwise(ends)]


def _steps(positions: bytes, count: int) -> bytes:
    """From each position to the next, packed; no more is unpacked than so many."""
    packed = zlib.decompressobj()
    steps = packed.decompress(positions, 4 * count + 1)
    if len(steps) != 4 * count or not packed.eof:
        raise ValueError(f"a row of {count} images has positions of another number")
    return steps


def _places(steps: bytes, counts: np.ndarray) -> np.ndarray:
    """The positions of rows of so many images, each counted from its row's beginning."""
    each = np.frombuffer(steps, "<u4").astype(np.int64)
    if (each < 1).any():
        raise ValueError("a row's positions do not rise")
    totals = np.append(0, np.cumsum(each))
    return np.asarray(totals[1:] - np.repeat(totals[np.cumsum(counts) - counts], counts) - 1)


def from_intact(intact: Intact, columns: Sequence[str]) -> tuple[Any, ...]:
    """The intact network's rows as the values of one: its outcomes, labels, margins, digests."""
    return (
        *from_outcomes(intact.outcomes, columns),
        intact.label.astype("<i4").tobytes(),
        intact.prediction.astype("<i4").tobytes(),
        intact.margin.astype("<f4").tobytes(),
        intact.digest.astype("<u8").tobytes(),
    )


def to_intact(rows: Sequence[Sequence[Any]], columns: Sequence[str]) -> Intact:
    """What `from_intact` made rows of, as one; labels as int64, margins as float32."""
    kinds = ("<i4", np.int64), ("<i4", np.int64), ("<f4", np.float32), ("<u8", np.uint64)
    values = []
    for place, (packed, kind) in enumerate(kinds, 3):
        size = np.dtype(packed).itemsize
        if any(len(row[place]) != size * row[0] for row in rows):
            raise ValueError("a row has labels or margins of another number of images")
        values.append(np.frombuffer(b"".join(row[place] for row in rows), packed).astype(kind))
    return Intact(to_outcomes([row[:3] for row in rows], columns), *values)


def _packed(values: np.ndarray, name: str) -> bytes:
    if TYPES[name] is np.bool_:
        return np.packbits(values).tobytes()
    return values.astype(np.dtype(TYPES[name]).newbyteorder("<")).tobytes()


def _unpacked(content: bytes, name: str, counts: np.ndarray) -> np.ndarray:
    """A column of rows of so many images; of hits each row begins with a byte."""
    if TYPES[name] is not np.bool_:
        packed = np.dtype(TYPES[name]).newbyteorder("<")
        return np.frombuffer(content, packed).astype(TYPES[name])
    filled = 8 * _bytes(counts, 1)
    gaps = np.cumsum(filled - counts) - (filled - counts)  # bits without meaning before each row
    places = np.arange(counts.sum()) + np.repeat(gaps, counts)
    return np.asarray(np.unpackbits(np.frombuffer(content, np.uint8))[places].astype(bool))


def _bits(name: str) -> int:
    """How many bits an image takes in a column."""
    return 1 if TYPES[name] is np.bool_ else 8 * np.dtype(TYPES[name]).itemsize


def _bytes(count: Any, bits: int) -> Any:
    """How many bytes so many images take, a number or an array of them."""
    return -(-count * bits // 8)
