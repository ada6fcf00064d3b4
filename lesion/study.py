"""The file that holds what was measured, and of what: one SQLite file that can be copied."""

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from lesion import database
from lesion.anatomy import Anatomy
from lesion.cells import (
    adds,
    adds_intact,
    first,
    from_intact,
    from_outcomes,
    join_intact,
    to_intact,
    to_outcomes,
)
from lesion.errors import StudyError
from lesion.header import Header, differences
from lesion.outcomes import Intact, Outcomes
from lesion.plan import Lesion, Skipped

FIELDS = "target, kind, criterion, amount, pruned, channels, damage, rounding, seed"
BITS = "images, top1, top5, agreement, loss"
ROW = f"{BITS}, label, prediction, margin"


class Study:
    """Lesions, their outcomes on the first images of a fixed order, and the scores behind them.

    `record` writes one chunk in one transaction, so that a process that dies loses the unfinished
    chunk and nothing else. Writing is idempotent: what is there already may be written again, and
    what contradicts it is refused with a StudyError. Every method raises StudyError where the file
    is locked, damaged, read-only or the disk full.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, header: Header) -> None:
        self.path, self.header = path, header
        self._connection = connection

    @classmethod
    def create(cls, path: str | Path, header: Header, timeout: float = 30) -> "Study":
        """A new study in a new file, open. Raises StudyError where the file exists."""
        database.create(Path(path), header.to_bytes())
        return cls.open(path, timeout)

    @classmethod
    def open(cls, path: str | Path, timeout: float = 30) -> "Study":
        """The study in a file; `timeout` is how many seconds another process's lock is awaited.

        Raises StudyError when the file is missing, no study, damaged, or of a newer format.
        """
        path = Path(path)
        connection = database.connect(path, timeout)
        try:
            with database.told(path):
                (content,) = connection.execute("SELECT content FROM header").fetchone()
            header = Header.from_bytes(content)
        except (TypeError, ValueError, KeyError, zlib.error) as error:
            connection.close()
            raise database.damaged(path, "its header cannot be read") from error
        except BaseException:
            connection.close()
            raise
        return cls(path, connection, header)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def __enter__(self) -> "Study":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def anatomy(self) -> Anatomy:
        """The layers and units of the network that was measured."""
        return self.header.anatomy

    def check(
        self, subject: Mapping[str, str], environment: Mapping[str, str] | None = None
    ) -> list[str]:
        """Warnings, one for each entry of the environment that differs from the study's.

        Raises StudyError, naming what differs with both values, where the subject is another.
        """
        found = differences(self.header.subject, subject)
        if found:
            raise StudyError(
                f"Expected the subject of {self.path}, but another came: {'; '.join(found)}; "
                "give the study's network, weights and images, or name a new study file."
            )
        if environment is None:
            return []
        return [
            f"measured in another environment: {text}"
            for text in differences(self.header.environment, environment)
        ]

    def add(self, lesions: Iterable[Lesion], skipped: Iterable[Skipped] = ()) -> None:
        """Take in lesions to measure, and targets without lesions; those already there stay."""
        marks = ", ".join("?" * 10)
        with self._write() as db:
            for lesion in lesions:
                db.execute(
                    f"INSERT OR IGNORE INTO lesions (key, {FIELDS}) VALUES ({marks})",
                    (lesion.key, *(getattr(lesion, name) for name in FIELDS.split(", "))),
                )
                self._same(lesion)
            for skip in skipped:
                db.execute(
                    "INSERT OR IGNORE INTO skipped VALUES (?, ?, ?)",
                    (skip.target, skip.kind, skip.reason),
                )

    def _same(self, lesion: Lesion) -> None:
        asked = (lesion.pruned, lesion.channels)
        (found,) = self._rows("SELECT pruned, channels FROM lesions WHERE key = ?", lesion.key)
        if found != asked:
            raise StudyError(
                f"Expected lesion {lesion.key} to remove {found[0]} of {found[1]} channels as in "
                f"{self.path}, got {asked[0]} of {asked[1]}: name a new study file."
            )

    @property
    def lesions(self) -> tuple[Lesion, ...]:
        """Every lesion, in the order in which they were added."""
        return tuple(
            Lesion(*row) for row in self._rows(f"SELECT {FIELDS} FROM lesions ORDER BY id")
        )

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Layers and units without lesions, each with its reason."""
        return tuple(Skipped(*row) for row in self._rows("SELECT * FROM skipped ORDER BY rowid"))

    def fail(self, lesion: Lesion, reason: str) -> None:
        """Mark a lesion that cannot be measured; the first reason stays."""
        lesion_id = self._id(lesion)
        with self._write() as db:
            db.execute(
                "UPDATE lesions SET failed = ? WHERE id = ? AND failed = ''", (reason, lesion_id)
            )

    @property
    def failed(self) -> dict[Lesion, str]:
        """The lesions that cannot be measured, and why."""
        rows = self._rows(f"SELECT failed, {FIELDS} FROM lesions WHERE failed != '' ORDER BY id")
        return {Lesion(*row[1:]): row[0] for row in rows}

    def set_scores(
        self, target: str, kind: str, criterion: str, seed: int, scores: np.ndarray
    ) -> None:
        """Keep a target's score of each channel; the lowest `np.argsort(kind="stable")` go first.

        Raises StudyError where other scores are there, beyond float tolerance.
        """
        asked = np.asarray(scores, float)
        with self._write() as db:
            found = self.scores(target, kind, criterion, seed)
            if found is None:
                db.execute(
                    "INSERT INTO scores VALUES (?, ?, ?, ?, ?)",
                    (target, kind, criterion, seed, asked.astype("<f8").tobytes()),
                )
            elif found.shape != asked.shape or not np.allclose(found, asked, 1e-6, 0, True):
                raise StudyError(
                    f"Expected the {criterion} scores of {target} that {self.path} holds, but "
                    "others came: the weights are not the study's; name a new study file."
                )

    def scores(self, target: str, kind: str, criterion: str, seed: int = 0) -> np.ndarray | None:
        """A target's score of each channel as float64, or None where the study has none."""
        rows = self._rows(
            "SELECT content FROM scores WHERE target = ? AND kind = ? AND criterion = ?"
            " AND seed = ?", target, kind, criterion, seed,
        )  # fmt: skip
        return np.frombuffer(rows[0][0], "<f8").astype(float) if rows else None

    def all_scores(self) -> dict[tuple[str, str, str, int], np.ndarray]:
        """All scores by target, kind, criterion and seed."""
        rows = self._rows("SELECT * FROM scores")
        return {row[:4]: np.frombuffer(row[4], "<f8").astype(float) for row in rows}

    def set_norms(self, layer: str, norms: np.ndarray) -> None:
        """Keep the l1 norm of each of a layer's filters."""
        self.set_scores(layer, "norms", "l1", 0, norms)

    @property
    def norms(self) -> dict[str, np.ndarray]:
        """The l1 norm of each filter of each layer that has them, in order of execution."""
        found = self.all_scores()
        keys = {layer.name: (layer.name, "norms", "l1", 0) for layer in self.anatomy.layers}
        return {name: found[key] for name, key in keys.items() if key in found}

    def record(
        self, chunk: int, digest: str, intact: Intact, measured: Mapping[Lesion, Outcomes]
    ) -> None:
        """Write one chunk: the digest of its images, the intact network's row, and the lesions'.

        All or nothing. A chunk may hold the first few of its images only; it is replaced when a
        longer one comes that begins with it. Raises StudyError where the images differ from an
        earlier read, where an outcome contradicts a recorded one, and where a lesion's earlier
        chunks are missing, because its outcomes are a prefix of the order.
        """
        with self._write() as db:
            self._follows("intact WHERE", chunk, len(intact))
            if adds_intact(self._intact(chunk), (digest, intact), chunk):
                values = (chunk, digest, *from_intact(intact))
                db.execute(f"REPLACE INTO intact VALUES ({_marks(values)})", values)
            for lesion, outcomes in measured.items():
                self._put(db, lesion, chunk, outcomes, len(intact))

    def _put(
        self, db: sqlite3.Connection, lesion: Lesion, chunk: int, outcomes: Outcomes, most: int
    ) -> None:
        if len(outcomes) > most:
            raise StudyError(
                f"Expected outcomes of at most {most} images for chunk {chunk} of lesion "
                f"{lesion.key}, got {len(outcomes)}."
            )
        lesion_id = self._id(lesion)
        self._follows(f"outcomes WHERE lesion = {lesion_id} AND", chunk, len(outcomes))
        found = self._cells(f"WHERE lesion = {lesion_id} AND chunk = {int(chunk)}")
        name = f"chunk {chunk} of lesion {lesion.key}"
        if adds(found[0] if found else None, outcomes, name):
            values = (lesion_id, chunk, *from_outcomes(outcomes))
            db.execute(f"REPLACE INTO outcomes VALUES ({_marks(values)})", values)

    def _follows(self, rows: str, chunk: int, images: int) -> None:
        """Refuse a chunk of no or too many images, and one whose predecessor is not whole."""
        size = len(self.header.indices(chunk))
        if not 1 <= images <= size:
            raise StudyError(f"Expected 1 to {size} images for chunk {chunk}, got {images}.")
        if chunk == 0:
            return
        before = self._rows(f"SELECT images FROM {rows} chunk = ?", chunk - 1)
        if before != [(self.header.chunk,)]:
            raise StudyError(
                f"Expected chunk {chunk - 1} to be recorded whole before chunk {chunk}, because "
                "outcomes are a prefix of the order: record the chunks in turn."
            )

    def _id(self, lesion: Lesion) -> int:
        found = self._rows("SELECT id FROM lesions WHERE key = ?", lesion.key)
        if not found:
            raise StudyError(
                f"Expected a lesion of {self.path}, got {lesion.key}: add it to the study first."
            )
        return int(found[0][0])

    def digest(self, chunk: int) -> str | None:
        """The digest of a chunk's images as first read, or None where it is not recorded."""
        found = self._intact(chunk)
        return found[0] if found else None

    def _intact(self, chunk: int) -> tuple[str, Intact] | None:
        rows = self._rows(f"SELECT digest, {ROW} FROM intact WHERE chunk = ?", chunk)
        return (rows[0][0], to_intact(rows[0][1:])) if rows else None

    def _cells(self, where: str) -> list[Outcomes]:
        rows = self._rows(f"SELECT {BITS} FROM outcomes {where} ORDER BY chunk")
        return [to_outcomes(row) for row in rows]

    def chunk(self, chunk: int) -> tuple[str, Intact, dict[Lesion, Outcomes]]:
        """What `record` wrote of one chunk. Raises KeyError where there is none."""
        found = self._intact(chunk)
        if found is None:
            raise KeyError(chunk)
        rows = self._rows(
            f"SELECT {BITS}, {FIELDS} FROM outcomes JOIN lesions ON lesion = id WHERE chunk = ?"
            " ORDER BY id", chunk,
        )  # fmt: skip
        return *found, {Lesion(*row[5:]): to_outcomes(row[:5]) for row in rows}

    def chunks(self, lesion: Lesion) -> int:
        """How many chunks, from the first on, are recorded whole for a lesion."""
        rows = self._rows("SELECT chunk, images FROM outcomes WHERE lesion = ?", self._id(lesion))
        return sum(images == len(self.header.indices(chunk)) for chunk, images in rows)

    def images(self, lesion: Lesion | None = None) -> int:
        """How many images, from the first on, are recorded for a lesion or the intact network."""
        rows = "intact" if lesion is None else f"outcomes WHERE lesion = {self._id(lesion)}"
        return int(self._rows(f"SELECT coalesce(sum(images), 0) FROM {rows}")[0][0])

    def intact(self, images: int | None = None) -> Intact:
        """What the intact network made of the first `images` of the order, or of all recorded.

        The loss is NaN where `images` ends within a chunk, for sums are kept by the chunk.
        """
        wanted = self.header.chunks if images is None else -(-images // self.header.chunk)
        rows = self._rows(f"SELECT {ROW} FROM intact WHERE chunk < ? ORDER BY chunk", wanted)
        return first(join_intact([to_intact(row) for row in rows]), images)

    def outcomes(self, lesion: Lesion) -> Outcomes:
        """A lesion's outcomes on the first images of the order, as many as are recorded."""
        return Outcomes.join(self._cells(f"WHERE lesion = {self._id(lesion)}"))

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with database.told(self.path):
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is kept, or none of it where anything raises."""
        with database.told(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk has ended it already
                    self._connection.execute("ROLLBACK")
                raise


def _marks(values: tuple[Any, ...]) -> str:
    return ", ".join("?" * len(values))
