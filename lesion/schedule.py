"""What to measure next: a pure function of how far each lesion has come."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lesion.plan import Lesion


@dataclass(frozen=True)
class Work:
    """The lesions to measure on the first `images` of a chunk."""

    chunk: int
    images: int
    lesions: tuple[Lesion, ...]


def rounds(done: Mapping[Lesion, int], images: int, chunk: int) -> Iterator[Work]:
    """The work that brings every lesion to the first `images` of the order, chunk by chunk.

    done: how many images of the order each lesion has outcomes of; chunk: images a chunk.
    A lesion's outcomes stay a prefix: whoever is behind goes first, and the others join when it
    has caught up.  Measuring an unfinished chunk begins it anew.
    """
    whole = {lesion: count - count % chunk for lesion, count in done.items() if count < images}
    while whole:
        start = min(whole.values())
        now = tuple(lesion for lesion, count in whole.items() if count == start)
        size = min(chunk, images - start)
        yield Work(start // chunk, size, now)
        for lesion in now:
            whole[lesion] = start + size
            if whole[lesion] >= images:
                del whole[lesion]
