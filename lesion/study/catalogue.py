"""Which lesions a study has, the scores that rank their channels, and their whole evaluations."""

import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from lesion.compression.footprint import Saving
from lesion.errors import StudyError
from lesion.lesions.lesion import Lesion, Skipped
from lesion.study.database import Tables
from lesion.subject.set_score import Resampled

FIELDS = "target, kind, criterion, amount, pruned, channels, damage, rounding, seed, recovery"
EVALUATION_NOISE = 1e-3  # of the value: float noise on two machines


class Catalogue(Tables):
    """The part of a study that says what is measured, and holds what is no outcome on images."""

    def add(self, lesions: Iterable[Lesion], skipped: Iterable[Skipped] = ()) -> None:
        """Take in lesions to measure, and targets without lesions; those already there stay."""
        marks = ", ".join("?" * 11)
        with self._store.transaction():
            for lesion in lesions:
                self._store.write(
                    f"INSERT OR IGNORE INTO lesions (key, {FIELDS}) VALUES ({marks})",
                    lesion.key,
                    *(getattr(lesion, name) for name in FIELDS.split(", ")),
                )
                self._check_counts(lesion)
            for skip in skipped:
                self._store.write(
                    "INSERT OR IGNORE INTO skipped VALUES (?, ?, ?)",
                    skip.target,
                    skip.kind,
                    skip.reason,
                )

    def _check_counts(self, lesion: Lesion) -> None:
        """Raises StudyError where the lesion of that key removes other counts of channels."""
        query = "SELECT pruned, channels FROM lesions WHERE key = ?"
        ((pruned, channels),) = self._store.rows(query, lesion.key)
        if (pruned, channels) != (lesion.pruned, lesion.channels):
            raise StudyError(
                f"Expected lesion {lesion.key} to remove {pruned} of {channels} channels as in "
                f"{self.path}, got {lesion.pruned} of {lesion.channels}: name a new study file."
            )

    @property
    def lesions(self) -> tuple[Lesion, ...]:
        """Every lesion, in the order in which they were added."""
        return tuple(lesion for _, lesion in self.keyed())

    @property
    def count(self) -> int:
        """How many lesions there are."""
        return int(self._store.rows("SELECT count(*) FROM lesions")[0][0])

    @property
    def latest(self) -> Lesion | None:
        """The lesion that was recorded last, None where none was."""
        for table in ("outcomes", "evaluations"):
            rows = self._store.rows(
                f"SELECT {FIELDS} FROM lesions WHERE id = "
                f"(SELECT lesion FROM {table} ORDER BY rowid DESC LIMIT 1)"
            )
            if rows:
                return Lesion(*rows[0])
        return None

    def keyed(self) -> Iterator[tuple[str, Lesion]]:
        """Every lesion, with the key under which the file has it."""
        for key, *fields in self._store.rows(f"SELECT key, {FIELDS} FROM lesions ORDER BY id"):
            yield key, Lesion(*fields)

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Layers and units without lesions, each with its reason."""
        return tuple(
            Skipped(*row) for row in self._store.rows("SELECT * FROM skipped ORDER BY rowid")
        )

    def fail(self, lesion: Lesion, reason: str) -> None:
        """Mark a lesion that cannot be measured; the first reason stays."""
        lesion_id = self._id(lesion)
        with self._store.transaction():
            self._store.write(
                "UPDATE lesions SET failed = ? WHERE id = ? AND failed = ''", reason, lesion_id
            )

    @property
    def failed(self) -> dict[Lesion, str]:
        """The lesions that cannot be measured, and why."""
        rows = self._store.rows(
            f"SELECT failed, {FIELDS} FROM lesions WHERE failed != '' ORDER BY id"
        )
        return {Lesion(*row[1:]): row[0] for row in rows}

    def set_savings(self, savings: Mapping[Lesion, Saving]) -> None:
        """Keep what the layers that lesions change cost without them and with them; the first of a
        lesion stays."""
        known = self.savings
        new = {lesion: saving for lesion, saving in savings.items() if lesion not in known}
        if not new:
            return  # so that a sweep with nothing left to do leaves the file as it is
        with self._store.transaction():
            for lesion, saving in new.items():
                row = self._id(lesion), saving.to_json()
                self._store.write("INSERT OR IGNORE INTO savings VALUES (?, ?)", *row)

    @property
    def savings(self) -> dict[Lesion, Saving]:
        """What lesions save, of those that say so; none in a file of before."""
        if not self._store.has("savings"):
            return {}
        rows = self._store.rows(
            f"SELECT content, {FIELDS} FROM savings JOIN lesions ON id = lesion ORDER BY id"
        )
        return {Lesion(*row[1:]): Saving.from_json(row[0]) for row in rows}

    def set_scores(
        self, target: str, kind: str, criterion: str, seed: int, scores: np.ndarray
    ) -> None:
        """Keep a target's score of each channel; the lowest `np.argsort(kind="stable")` go first.

        Raises StudyError where other scores are there, beyond float tolerance.
        """
        scores, key = np.asarray(scores, float), (target, kind, criterion, seed)
        with self._store.transaction():
            known = self.scores(*key)
            if known is None:
                content = scores.astype("<f8").tobytes()
                self._store.write("INSERT INTO scores VALUES (?, ?, ?, ?, ?)", *key, content)
            elif known.shape != scores.shape or not np.allclose(known, scores, 1e-6, 0, True):
                raise StudyError(
                    f"Expected the {criterion} scores of {target} that {self.path} holds, but "
                    "others came: the weights are not the study's; name a new study file."
                )

    def scores(self, target: str, kind: str, criterion: str, seed: int = 0) -> np.ndarray | None:
        """A target's score of each channel as float64, or None where the study has none."""
        key = "(target, kind, criterion, seed) = (?, ?, ?, ?)"
        rows = self._store.rows(
            f"SELECT content FROM scores WHERE {key}", target, kind, criterion, seed
        )
        return np.frombuffer(rows[0][0], "<f8").astype(float) if rows else None

    def known(self, lesion: Lesion) -> np.ndarray | None:
        """What a lesion's damage keeps of its target, None where it keeps nothing."""
        return self.scores(lesion.target, lesion.kind, lesion.damage, lesion.seed)

    def all_scores(self) -> dict[tuple[str, str, str, int], np.ndarray]:
        """All scores by target, kind, criterion and seed."""
        rows = self._store.rows("SELECT * FROM scores")
        return {row[:4]: np.frombuffer(row[4], "<f8").astype(float) for row in rows}

    def set_norms(self, layer: str, norms: np.ndarray) -> None:
        """Keep the l1 norm of each of a layer's filters."""
        self.set_scores(layer, "norms", "l1", 0, norms)

    def set_evaluation(
        self, value: float, lesion: Lesion | None = None, resampled: Resampled | None = None
    ) -> None:
        """Keep what a lesion's one evaluation gave, or under None the intact network's.

        resampled: what it gave where images are drawn again, if it says that

        Raises StudyError where another number is there, beyond a thousandth of it.
        """
        lesion_id = None if lesion is None else self._id(lesion)
        with self._store.transaction():
            rows = self._store.rows("SELECT value FROM evaluations WHERE lesion IS ?", lesion_id)
            if not rows:
                self._store.write("INSERT INTO evaluations VALUES (?, ?)", lesion_id, value)
                if resampled is not None:
                    content = resampled.values.astype("<f8").tobytes()
                    row = (lesion_id, resampled.images, content)
                    self._store.write("INSERT INTO resampled VALUES (?, ?, ?)", *row)
            elif not math.isclose(rows[0][0], value, rel_tol=EVALUATION_NOISE):
                name = "the intact network" if lesion is None else f"lesion {lesion.key}"
                raise StudyError(
                    f"Expected the evaluation of {name} that {self.path} holds, "
                    f"{rows[0][0]:.6g}, but {value:.6g} came: the images or the function are "
                    "others, or it draws at random; name a new study file."
                )

    @property
    def evaluations(self) -> dict[Lesion | None, float]:
        """What evaluations of the network as a whole gave, the intact network's under None."""
        rows = self._store.rows(
            f"SELECT value, lesion, {FIELDS} FROM evaluations"
            " LEFT JOIN lesions ON id = lesion ORDER BY evaluations.rowid"
        )
        return {None if row[1] is None else Lesion(*row[2:]): row[0] for row in rows}

    @property
    def resampled(self) -> dict[Lesion | None, Resampled]:
        """The evaluations' values where images are drawn again, of those that say them."""
        if not self._store.has("resampled"):
            return {}
        rows = self._store.rows(
            f"SELECT images, content, lesion, {FIELDS} FROM resampled"
            " LEFT JOIN lesions ON id = lesion ORDER BY resampled.rowid"
        )
        return {
            None if row[2] is None else Lesion(*row[3:]): Resampled(
                row[0], np.frombuffer(row[1], "<f8").astype(float)
            )
            for row in rows
        }

    def _id(self, lesion: Lesion) -> int:
        rows = self._store.rows("SELECT id FROM lesions WHERE key = ?", lesion.key)
        if not rows:
            raise StudyError(
                f"Expected a lesion of {self.path}, got {lesion.key}: add it to the study first."
            )
        return int(rows[0][0])
