"""The part of a study that grows: what the intact network and the lesions made of the images."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from lesion.errors import StudyError, first_line
from lesion.study.database import Store, damaged
from lesion.study.packed_columns import from_intact, from_outcomes, to_intact, to_outcomes
from lesion.subject.outcomes import Intact, Outcomes

NOISE = 1e-2  # margins of one image on two machines differ by float noise, never by this much
SCORED, FEW = 1e-2, 0.25  # scores further apart are others; the share of those that may be
INTACT = "images, positions, content, label, prediction, margin, digest"
PART = "images, positions, content"


class Ledger:
    """Rows that are only ever added: a lesion's outcomes in parts, the intact network's in turn.

    columns: the names of the columns that every part has; size: how many images the order has
    """

    def __init__(self, store: Store, columns: tuple[str, ...], size: int) -> None:
        self.store, self.columns, self.size = store, columns, size
        self._seen: dict[int, np.ndarray] = {}
        self._version = -1

    def add_intact(self, intact: Intact) -> None:
        """Rows of images that follow those recorded; of an overlap the new ones are kept.

        Raises StudyError where they leave a gap, or differ from what is recorded.
        """
        known, places = self.images(), intact.outcomes.images
        first = int(places[0])
        if first > known or first + len(intact) > self.size or (np.diff(places) != 1).any():
            raise StudyError(
                f"Expected images that follow the first {known} of {self.size}, got {len(intact)} "
                f"from {first} on: record the intact network's images in turn."
            )
        if first < known:
            _same_images(self.intact(known).take(slice(first, None)), intact)
        fresh = intact.take(slice(known - first, None))
        if len(fresh):
            values = from_intact(fresh, self.columns)
            self.store.write(f"INSERT INTO intact VALUES ({_marks(values)})", *values)

    def add(self, lesion: int, name: str, outcomes: Outcomes) -> None:
        """A part of a lesion's outcomes, without what is recorded already.

        Raises StudyError, which calls the lesion `name`, where it contradicts what is recorded or
        the intact network has no rows of its images.
        """
        if len(outcomes) and int(outcomes.images[-1]) >= self.images():
            raise StudyError(
                f"Expected outcomes of the first {self.images()} images, which the intact network "
                f"has seen, got image {int(outcomes.images[-1])} of lesion {name}."
            )
        seen = self.seen(lesion)
        if seen[outcomes.images].any():
            outcomes = _fresh(self.outcomes(lesion), outcomes, name)
        if len(outcomes):
            values = (lesion, *from_outcomes(outcomes, self.columns))
            self.store.write(f"INSERT INTO outcomes VALUES ({_marks(values)})", *values)
            seen[outcomes.images] = True

    def forget(self) -> None:
        """After a write that came to nothing: read again what is there."""
        self._seen.clear()

    def images(self) -> int:
        """How many images, from the first on, the intact network has seen."""
        return int(self.store.rows("SELECT coalesce(sum(images), 0) FROM intact")[0][0])

    def answers(self) -> int:
        """How many images all lesions have outcomes of, together."""
        return int(self.store.rows("SELECT coalesce(sum(images), 0) FROM outcomes")[0][0])

    def intact(self, images: int | None = None) -> Intact:
        """What the intact network made of the first images, or of all that it has seen."""
        rows = self.store.rows(f"SELECT {INTACT} FROM intact ORDER BY rowid")
        with self._readable():
            intact = to_intact(rows, self.columns)
            _check_places(intact.outcomes.images, min(len(intact), self.size))
        return intact.take(slice(images))

    def outcomes(self, lesion: int) -> Outcomes:
        """All that is recorded of a lesion, positions rising."""
        rows = self.store.rows(
            f"SELECT {PART} FROM outcomes WHERE lesion = ? ORDER BY rowid", lesion
        )
        with self._readable():
            outcomes = to_outcomes(rows, self.columns)
            _check_places(outcomes.images, self.size)
        return outcomes

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Rows that cannot be unpacked are damage."""
        try:
            yield
        except (TypeError, ValueError, OverflowError, MemoryError, zlib.error) as error:
            raise damaged(self.store.path, first_line(error)) from error

    def seen(self, lesion: int) -> np.ndarray:
        """Which images of the order a lesion has outcomes of, as booleans."""
        version = self.store.version()
        if version != self._version:  # another process has written
            self._seen.clear()
            self._version = version
        if lesion not in self._seen:
            self._seen[lesion] = np.zeros(self.size, bool)
            self._seen[lesion][self.outcomes(lesion).images] = True
        return self._seen[lesion]


def _check_places(images: np.ndarray, size: int) -> None:
    """Raises ValueError unless positions rise and are among so many."""
    if len(images) and (int(images[-1]) >= size or (np.diff(images) < 1).any()):
        raise ValueError(f"its outcomes are not of different images among {size}")


def _same_images(old: Intact, new: Intact) -> None:
    """Refuses rows that differ from those recorded of the same images."""
    n = min(len(old), len(new))
    old, new = old.take(slice(n)), new.take(slice(n))
    check_digests(old.digest, new.digest, old.outcomes.images)
    if not np.array_equal(old.label, new.label):
        first = int(old.outcomes.images[old.label != new.label][0])
        raise changed(first, "its label is another")
    if not np.allclose(old.margin, new.margin, rtol=NOISE, atol=NOISE, equal_nan=True):
        raise StudyError(
            "Expected the intact network to answer as recorded, but its margins differ: the "
            "network, device or library is another; measure into a new study file."
        )


def joined(old: Outcomes, new: Outcomes, name: str) -> Outcomes:
    """Two studies' outcomes of the lesion `name` as one. Raises StudyError where they differ."""
    return Outcomes.join([old, _fresh(old, new, name)], list(old.columns))


def _fresh(old: Outcomes, new: Outcomes, name: str) -> Outcomes:
    """The new outcomes of images that have none yet; refuses those that contradict old ones."""
    _, of_old, of_new = np.intersect1d(old.images, new.images, return_indices=True)
    for column, values in old.columns.items():
        if not _same(values[of_old], new[column][of_new]):
            raise StudyError(
                f"Expected the outcomes of lesion {name} that are recorded, but others came: the "
                "network, device or library answers differently; measure into a new study file."
            )
    return new.without(old.images)


def _same(old: np.ndarray, new: np.ndarray) -> bool:
    """Whether hits are equal, and other numbers but for float noise."""
    if old.dtype == bool:
        return np.array_equal(old, new)
    old, new = old.astype(float), new.astype(float)
    return np.allclose(old, new, rtol=NOISE, atol=NOISE, equal_nan=True)


def check_digests(old: np.ndarray, new: np.ndarray, images: np.ndarray) -> None:
    """Raises StudyError where images are not as first read; `images` are their positions."""
    if not np.array_equal(old, new):
        raise changed(int(images[old != new][0]), "its content is another")


def check_scored(old: Intact, new: Intact) -> None:
    """Raises StudyError where most scores of the same images are others than they were.

    A name does not tell what a function or an adapter does.  On another device a few may differ.
    """
    pairs = [(old.label, new.label), (old.prediction, new.prediction)]
    names = [name for name in ("score",) if name in old.outcomes.columns]
    pairs += [(old.outcomes[name], new.outcomes[name]) for name in names]
    largest = max(float((abs(before - after) > SCORED).mean()) for before, after in pairs)
    if largest > FEW:
        raise StudyError(
            f"Expected the scores that the study holds of the intact network, but on the same "
            f"images {100 * largest:.0f} % are others now: the score function or the adapter is "
            "not the same; give those that it was made with, or name a new study file."
        )


def changed(image: int, how: str) -> StudyError:
    """The error for images that are not the same at every read."""
    return StudyError(
        f"Images change between reads: expected image {image} of the order to be as first read, "
        f"but {how}; switch off random augmentation, so that an index always gives the same image."
    )


def _marks(values: tuple[Any, ...]) -> str:
    return ", ".join("?" * len(values))
