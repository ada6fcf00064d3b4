"""The file that holds what was measured, and of what: one SQLite file that can be copied."""

import json
import math
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, replace
from pathlib import Path
from types import TracebackType

import numpy as np

from lesion import database
from lesion.aim import Aim
from lesion.amounts import FILTERS, Amounts
from lesion.anatomy import Anatomy
from lesion.boundary import public
from lesion.database import Store
from lesion.errors import StudyError
from lesion.header import Header, conflicts, differences
from lesion.ledger import Ledger
from lesion.outcomes import Intact, Outcomes
from lesion.plan import Lesion, Skipped

FIELDS = "target, kind, criterion, amount, pruned, channels, damage, rounding, seed, recovery"
EVALUATION_NOISE = 1e-3  # of the value: float noise on two machines


UNREADABLE = (TypeError, ValueError, LookupError, AttributeError, OverflowError, MemoryError,
              RecursionError, zlib.error)  # fmt: skip  # what whatever content may raise


class Study:
    """Lesions, their outcomes on images of a fixed order, and the scores behind them.

    `record` writes in one transaction, so that a process that dies loses what it had not recorded
    and nothing else. Writing is idempotent: what is there already may be written again, and
    what contradicts it is refused with a StudyError. Every method raises StudyError where the file
    is locked, damaged, read-only or the disk full.
    """

    def __init__(self, store: Store, header: Header) -> None:
        self.path, self.header = store.path, header
        self._store = store
        self._ledger = Ledger(store, header.columns, len(header.order))

    @classmethod
    @public
    def create(cls, path: str | Path, header: Header, timeout: float = 30) -> "Study":
        """A new study in a new file, open. Raises StudyError where the file exists."""
        database.create(Path(path), header.to_bytes())
        return cls.open(path, timeout)

    @classmethod
    @public
    def open(cls, path: str | Path, timeout: float = 30) -> "Study":
        """The study in a file; `timeout` is how many seconds another process's lock is awaited.

        Raises StudyError when the file is missing, no study, damaged, or of a newer format.
        """
        path = Path(path)
        store = database.connect(path, timeout)
        try:
            ((content,),) = store.rows("SELECT content FROM header")
            header = Header.from_bytes(content)
            study = cls(store, header)
            study._check_lesions()
        except UNREADABLE as error:
            store.close()
            raise database.damaged(path, "its header cannot be read") from error
        except BaseException:
            store.close()
            raise
        return study

    def _check_lesions(self) -> None:
        """Raises StudyError where a lesion is not what its key says, or cuts what is not there."""
        keys = [row[0] for row in self._store.rows("SELECT key FROM lesions ORDER BY id")]
        damages = self.damages
        for key, lesion in zip(keys, self.lesions, strict=True):
            possible = 0 <= lesion.pruned <= lesion.channels and lesion.damage in damages
            if key != lesion.key or not possible:
                raise database.damaged(self.path, f"its lesion {key} cannot be")

    def close(self) -> None:
        """Let go of the file."""
        self._store.close()

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
        self._refuse(differences(self.header.subject, subject))
        return self._elsewhere(environment or self.header.environment)

    def check_same(self, header: Header) -> list[str]:
        """The same of another header: its anatomy, order, columns and settings count as well."""
        self._refuse(conflicts(self.header, header))
        return self._elsewhere(header.environment)

    def _refuse(self, phrases: list[str]) -> None:
        if phrases:
            raise StudyError(
                f"Expected the subject of {self.path}, but another came: {'; '.join(phrases)}; "
                "give the study's network, weights, images and settings, or name a new study file."
            )

    def _elsewhere(self, environment: Mapping[str, str]) -> list[str]:
        return [
            f"measured in another environment: {text}"
            for text in differences(self.header.environment, environment)
        ]

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
                self._same(lesion)
            for skip in skipped:
                self._store.write(
                    "INSERT OR IGNORE INTO skipped VALUES (?, ?, ?)",
                    skip.target,
                    skip.kind,
                    skip.reason,
                )

    def _same(self, lesion: Lesion) -> None:
        asked = (lesion.pruned, lesion.channels)
        (found,) = self._store.rows(
            "SELECT pruned, channels FROM lesions WHERE key = ?", lesion.key
        )
        if found != asked:
            raise StudyError(
                f"Expected lesion {lesion.key} to remove {found[0]} of {found[1]} channels as in "
                f"{self.path}, got {asked[0]} of {asked[1]}: name a new study file."
            )

    @property
    def lesions(self) -> tuple[Lesion, ...]:
        """Every lesion, in the order in which they were added."""
        return tuple(
            Lesion(*row) for row in self._store.rows(f"SELECT {FIELDS} FROM lesions ORDER BY id")
        )

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

    def aim(self, aim: Aim) -> None:
        """Remember what is asked of the lesions, as the last that was."""
        values = astuple(aim)
        if self.aims[-1:] == (aim,):
            return  # so that a sweep with nothing left to do leaves the file as it is
        with self._store.transaction():
            self._store.write(
                "DELETE FROM aims WHERE (max_drop, confidence, score, guarantee, half_width) ="
                " (?, ?, ?, ?, ?)", *values,
            )  # fmt: skip
            self._store.write("INSERT INTO aims VALUES (?, ?, ?, ?, ?)", *values)

    @property
    def aims(self) -> tuple[Aim, ...]:
        """What was asked of the lesions, the last last."""
        return tuple(Aim(*row) for row in self._store.rows("SELECT * FROM aims ORDER BY rowid"))

    def add_plan(self, family: str, content: str, beside: bool = False) -> None:
        """Remember what was first planned of a family of lesions; the first plan of all stays.

        beside: keep it beside others of that family
        """
        if not beside and family in self._plans().values():
            return  # so that a sweep with nothing left to do leaves the file as it is
        with self._store.transaction():
            if beside or family not in self._plans().values():
                self._store.write("INSERT OR IGNORE INTO plans VALUES (?, ?)", family, content)

    @property
    def plans(self) -> tuple[str, ...]:
        """What was first planned, a text for each plan."""
        return tuple(self._plans())

    def _plans(self) -> dict[str, str]:
        """The family of each plan."""
        if not self._store.has("plans"):
            return {}
        return dict(self._store.rows("SELECT content, family FROM plans ORDER BY content"))

    def add_check(self, content: str) -> None:
        """Remember that rates were checked on the images kept back, and what came of it."""
        with self._store.transaction():
            self._store.write("INSERT INTO checks VALUES (?)", content)

    def begin_check(self, make: Callable[[Sequence[str]], str]) -> str:
        """Take a place among the checks before one is made, so that no other process takes it.

        make: gives the text that holds the place, from those of the checks before; it is returned
        """
        with self._store.transaction():
            place = make(self.checks)
            self._store.write("INSERT INTO checks VALUES (?)", place)
        return place

    def end_check(self, place: str, content: str | None) -> None:
        """What came of a check that had begun; None where nothing did and nothing was told."""
        with self._store.transaction():
            if content is None:
                self._store.write("DELETE FROM checks WHERE content = ?", place)
            else:
                self._store.write("UPDATE checks SET content = ? WHERE content = ?", content, place)

    @property
    def checks(self) -> tuple[str, ...]:
        """The checks of rates on the images kept back, the last last."""
        return tuple(
            row[0] for row in self._store.rows("SELECT content FROM checks ORDER BY rowid")
        )

    def set_calibration(self, content: str) -> None:
        """Remember how random sets of rates measured together, instead of what was known of it."""
        with self._store.transaction():
            self._store.write("DELETE FROM calibration")
            self._store.write("INSERT INTO calibration VALUES (?)", content)

    @property
    def calibration(self) -> str:
        """How random sets of rates measured together, "" where none were."""
        found = self._store.rows("SELECT content FROM calibration")
        return str(found[0][0]) if found else ""

    def set_recovery(self, name: str, training: str) -> None:
        """Remember a recovery, and a text that tells its training images from others.

        Raises StudyError where it is known with other training images.
        """
        with self._store.transaction():
            self._store.write("INSERT OR IGNORE INTO recoveries VALUES (?, ?)", name, training)
            found = self.recoveries[name]
            if found != training:
                raise StudyError(
                    f"Expected the training images that {self.path} knows of recovery {name} "
                    f"({found}), got others ({training}): give those, or name a new study file."
                )

    @property
    def recoveries(self) -> dict[str, str]:
        """The recoveries that lesions went through, each with its training images in a text."""
        return dict(self._store.rows("SELECT name, training FROM recoveries ORDER BY rowid"))

    def set_damage(self, name: str, amounts: Amounts) -> None:
        """Remember how the amounts of a kind of damage read, and which of them hurt more.

        Raises StudyError where they are known otherwise.
        """
        known = self.damages.get(name)
        if known is None:
            with self._store.transaction():
                content = json.dumps(asdict(amounts))
                self._store.write("INSERT OR IGNORE INTO damages VALUES (?, ?)", name, content)
        elif replace(known, grid=()) != replace(amounts, grid=()):
            raise StudyError(
                f"Expected the amounts of {name} that {self.path} knows, but they are counted "
                "otherwise now: give that version of the damage, or name a new study file."
            )

    @property
    def damages(self) -> dict[str, Amounts]:
        """The kinds of damage that lesions may have here, and how their amounts read."""
        known = self._store.has("damages")
        rows = self._store.rows("SELECT * FROM damages ORDER BY rowid") if known else []
        return {"filters": FILTERS, **{name: Amounts.from_json(text) for name, text in rows}}

    def set_criterion(self, name: str, images: str) -> None:
        """Remember a criterion that sees images, and a text that tells these from others.

        Raises StudyError where it is known with other images.
        """
        with self._store.transaction():
            self._store.write("INSERT OR IGNORE INTO criteria VALUES (?, ?)", name, images)
            known = self.criteria[name]
            if known != images:
                raise StudyError(
                    f"Expected the images that {self.path} knows of criterion {name} ({known}), "
                    f"got others ({images}): give those, or name a new study file."
                )

    @property
    def criteria(self) -> dict[str, str]:
        """The criteria that saw images, each with these in a text."""
        if not self._store.has("criteria"):
            return {}
        return dict(self._store.rows("SELECT name, images FROM criteria ORDER BY rowid"))

    def set_scores(
        self, target: str, kind: str, criterion: str, seed: int, scores: np.ndarray
    ) -> None:
        """Keep a target's score of each channel; the lowest `np.argsort(kind="stable")` go first.

        Raises StudyError where other scores are there, beyond float tolerance.
        """
        asked = np.asarray(scores, float)
        with self._store.transaction():
            found = self.scores(target, kind, criterion, seed)
            if found is None:
                self._store.write(
                    "INSERT INTO scores VALUES (?, ?, ?, ?, ?)",
                    target,
                    kind,
                    criterion,
                    seed,
                    asked.astype("<f8").tobytes(),
                )
            elif found.shape != asked.shape or not np.allclose(found, asked, 1e-6, 0, True):
                raise StudyError(
                    f"Expected the {criterion} scores of {target} that {self.path} holds, but "
                    "others came: the weights are not the study's; name a new study file."
                )

    def scores(self, target: str, kind: str, criterion: str, seed: int = 0) -> np.ndarray | None:
        """A target's score of each channel as float64, or None where the study has none."""
        rows = self._store.rows(
            "SELECT content FROM scores WHERE target = ? AND kind = ? AND criterion = ?"
            " AND seed = ?", target, kind, criterion, seed,
        )  # fmt: skip
        return np.frombuffer(rows[0][0], "<f8").astype(float) if rows else None

    def all_scores(self) -> dict[tuple[str, str, str, int], np.ndarray]:
        """All scores by target, kind, criterion and seed."""
        rows = self._store.rows("SELECT * FROM scores")
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

    def record(self, measured: Mapping[Lesion, Outcomes], intact: Intact | None = None) -> None:
        """Write outcomes of lesions, and rows of the intact network's; all or nothing.

        Raises StudyError where images differ from an earlier read, where an outcome contradicts a
        recorded one, where the intact network's rows leave a gap, and where it has none of a
        lesion's images.
        """
        try:
            with self._store.transaction():
                if intact is not None and len(intact):
                    self._ledger.add_intact(intact)
                for lesion, outcomes in measured.items():
                    self._ledger.add(self._id(lesion), lesion.key, outcomes)
        except BaseException:
            self._ledger.forget()
            raise

    def set_evaluation(self, value: float, lesion: Lesion | None = None) -> None:
        """Keep what a lesion's one evaluation gave, or under None the intact network's.

        Raises StudyError where another number is there, beyond a thousandth of it.
        """
        lesion_id = None if lesion is None else self._id(lesion)
        with self._store.transaction():
            found = self._store.rows("SELECT value FROM evaluations WHERE lesion IS ?", lesion_id)
            if not found:
                self._store.write("INSERT INTO evaluations VALUES (?, ?)", lesion_id, value)
            elif not math.isclose(found[0][0], value, rel_tol=EVALUATION_NOISE):
                name = "the intact network" if lesion is None else f"lesion {lesion.key}"
                raise StudyError(
                    f"Expected the evaluation of {name} that {self.path} holds, "
                    f"{found[0][0]:.6g}, but {value:.6g} came: the images or the function are "
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
    def images(self) -> int:
        """How many images, from the first of the order on, the intact network has seen."""
        return self._ledger.images()

    def intact(self, images: int | None = None) -> Intact:
        """What the intact network made of the first `images` of the order, or of all seen."""
        return self._ledger.intact(images)

    def outcomes(self, lesion: Lesion) -> Outcomes:
        """A lesion's outcomes on all images that it is recorded on."""
        return self._ledger.outcomes(self._id(lesion))

    def seen(self, lesion: Lesion) -> np.ndarray:
        """Which positions of the order a lesion has outcomes of, as booleans."""
        return self._ledger.seen(self._id(lesion)).copy()

    def _id(self, lesion: Lesion) -> int:
        found = self._store.rows("SELECT id FROM lesions WHERE key = ?", lesion.key)
        if not found:
            raise StudyError(
                f"Expected a lesion of {self.path}, got {lesion.key}: add it to the study first."
            )
        return int(found[0][0])
