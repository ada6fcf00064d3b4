"""What a study remembers of how it came about: aims, plans, checks, and what lesions depend on."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, replace

from lesion.errors import StudyError
from lesion.lesions.amounts import FILTERS, Amounts
from lesion.study.aim import Aim
from lesion.study.database import Tables


class Notes(Tables):
    """The part of a study that tells later sweeps and checks what earlier ones asked and used."""

    def aim(self, aim: Aim) -> None:
        """Remember what is asked of the lesions, as the last that was."""
        if self.aims[-1:] == (aim,):
            return  # so that a sweep with nothing left to do leaves the file as it is
        values = astuple(aim)
        known = "(max_drop, confidence, score, guarantee, half_width) = (?, ?, ?, ?, ?)"
        with self._store.transaction():
            self._store.write(f"DELETE FROM aims WHERE {known}", *values)
            self._store.write("INSERT INTO aims VALUES (?, ?, ?, ?, ?)", *values)

    @property
    def aims(self) -> tuple[Aim, ...]:
        """What was asked of the lesions, the last last."""
        return tuple(Aim(*row) for row in self._store.rows("SELECT * FROM aims ORDER BY rowid"))

    def add_plan(self, family: str, content: str, several: bool = False) -> None:
        """Remember what was first planned of a family of lesions; the first plan of all stays.

        several: keep it beside others of that family
        """
        if not several and family in self._plans().values():
            return  # so that a sweep with nothing left to do leaves the file as it is
        with self._store.transaction():
            if several or family not in self._plans().values():
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
        rows = self._store.rows("SELECT content FROM calibration")
        return str(rows[0][0]) if rows else ""

    def set_recovery(self, name: str, training: str) -> None:
        """Remember a recovery, and a text that tells its training images from others.

        Raises StudyError where it is known with other training images.
        """
        with self._store.transaction():
            self._store.write("INSERT OR IGNORE INTO recoveries VALUES (?, ?)", name, training)
            known = self.recoveries[name]
            if known != training:
                raise StudyError(
                    f"Expected the training images that {self.path} knows of recovery {name} "
                    f"({known}), got others ({training}): give those, or name a new study file."
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
        query = "SELECT name, amounts FROM damages ORDER BY rowid"
        rows = self._store.rows(query) if self._store.has("damages") else []
        return {"filters": FILTERS, **{name: Amounts.from_json(text) for name, text in rows}}

    def set_criterion(self, name: str, images: str) -> None:
        """Remember what sees images, a criterion or "damage " with its name, and a text that tells
        these from others.

        Raises StudyError where it is known with other images.
        """
        with self._store.transaction():
            self._store.write("INSERT OR IGNORE INTO criteria VALUES (?, ?)", name, images)
            known, damage = self.criteria[name], name.startswith("damage ")
            if known != images:
                raise StudyError(
                    f"Expected the images that {self.path} knows of "
                    f"{name if damage else f'criterion {name}'} ({known}), "
                    f"got others ({images}): give those, or name a new study file."
                )

    @property
    def criteria(self) -> dict[str, str]:
        """The criteria and damages that saw images, each with these in a text."""
        if not self._store.has("criteria"):
            return {}
        return dict(self._store.rows("SELECT name, images FROM criteria ORDER BY rowid"))
