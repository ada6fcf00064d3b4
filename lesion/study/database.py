"""The file under a study: opening it, its tables, and what SQLite's complaints mean for a user."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from lesion.boundary.files import new_file
from lesion.errors import StudyError
from lesion.study import seals

APPLICATION = 0x4C45534E  # "LESN", in bytes 68-71 of the file
VERSION = 7
LATER = {
    3: {"plans", "seals", "damages", "criteria", "resampled", "savings"},
    4: {"damages", "criteria", "resampled", "savings"},
    5: {"resampled", "savings"},
    6: {"savings"},
}
"""The tables that a file of an earlier format may lack; the first write makes it one of today."""
SCHEMA = f"""
CREATE TABLE header (content BLOB NOT NULL);
CREATE TABLE lesions (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, target TEXT NOT NULL, kind TEXT NOT NULL,
    criterion TEXT NOT NULL, amount REAL NOT NULL, pruned INTEGER NOT NULL,
    channels INTEGER NOT NULL, damage TEXT NOT NULL, rounding TEXT NOT NULL,
    seed INTEGER NOT NULL, recovery TEXT NOT NULL, failed TEXT NOT NULL DEFAULT '');
CREATE TABLE recoveries (name TEXT PRIMARY KEY, training TEXT NOT NULL);
CREATE TABLE skipped (
    target TEXT NOT NULL, kind TEXT NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (target, kind, reason));
CREATE TABLE scores (
    target TEXT NOT NULL, kind TEXT NOT NULL, criterion TEXT NOT NULL, seed INTEGER NOT NULL,
    content BLOB NOT NULL, PRIMARY KEY (target, kind, criterion, seed));
CREATE TABLE aims (
    max_drop REAL NOT NULL, confidence REAL NOT NULL, score TEXT NOT NULL,
    guarantee TEXT NOT NULL, half_width REAL NOT NULL,
    PRIMARY KEY (max_drop, confidence, score, guarantee, half_width));
CREATE TABLE intact (
    images INTEGER NOT NULL, positions BLOB NOT NULL, content BLOB NOT NULL, label BLOB NOT NULL,
    prediction BLOB NOT NULL, margin BLOB NOT NULL, digest BLOB NOT NULL);
CREATE TABLE outcomes (
    lesion INTEGER NOT NULL REFERENCES lesions (id), images INTEGER NOT NULL,
    positions BLOB NOT NULL, content BLOB NOT NULL);
CREATE INDEX of_lesion ON outcomes (lesion);
CREATE TABLE checks (content TEXT NOT NULL);
CREATE TABLE calibration (content TEXT NOT NULL);
CREATE TABLE evaluations (lesion INTEGER UNIQUE REFERENCES lesions (id), value REAL NOT NULL);
CREATE TABLE resampled (
    lesion INTEGER UNIQUE REFERENCES lesions (id), images INTEGER NOT NULL, content BLOB NOT NULL);
CREATE TABLE plans (family TEXT NOT NULL, content TEXT NOT NULL UNIQUE);
{seals.TABLE};
CREATE TABLE damages (name TEXT PRIMARY KEY, amounts TEXT NOT NULL);
CREATE TABLE criteria (name TEXT PRIMARY KEY, images TEXT NOT NULL);
CREATE TABLE savings (lesion INTEGER UNIQUE REFERENCES lesions (id), content TEXT NOT NULL);
"""
TABLES = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
WRITTEN = re.compile(r"(?:INTO|UPDATE|DELETE FROM) (\w+)")


class ExistsError(StudyError):
    """A study was to be new, but there is a file."""


class Store:
    """A study file's tables: queries, and transactions that are kept whole or not at all."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._written = set[str]()

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a query finds."""
        with explaining(self.path):
            return self._connection.execute(query, values).fetchall()

    def write(self, query: str, *values: Any) -> None:
        """One change, within a transaction."""
        self._connection.execute(query, values)
        self._written.update(WRITTEN.findall(query))

    def has(self, table: str) -> bool:
        """Whether the file has a table, which one of an earlier format may lack."""
        return bool(self.rows("SELECT 1 FROM sqlite_master WHERE name = ?", table))

    def version(self) -> int:
        """A number that changes when another process has written."""
        return int(self.rows("PRAGMA data_version")[0][0])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes in it are kept, or none of them where anything raises."""
        with explaining(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            self._written.clear()
            try:
                _renewed(self._connection)
                yield
                seals.renew(self._connection, sorted(self._written))
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk has ended it already
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


class Tables:
    """Something that is kept in the tables of a study file."""

    def __init__(self, store: Store) -> None:
        self.path, self._store = store.path, store

    def close(self) -> None:
        """Let go of the file."""
        self._store.close()


def create(path: Path, content: bytes) -> None:
    """Write a new study file that holds a header and nothing else; it appears whole or not at all.

    Raises StudyError where there is a file already, or no place for one.
    """
    with explaining(path):
        try:
            with new_file(path) as fresh:
                _filled(fresh, content)
        except FileExistsError as error:
            raise ExistsError(
                f"Expected a new file for the study, but {path} exists: open it, or give another "
                "name."
            ) from error


def _filled(fresh: Path, content: bytes) -> None:
    connection = sqlite3.connect(fresh.absolute(), isolation_level=None)
    try:
        connection.executescript(f"BEGIN; {SCHEMA}")
        connection.execute("INSERT INTO header VALUES (?)", (content,))
        seals.renew(connection, _sealed(connection))
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    finally:
        connection.close()


def connect(path: Path, timeout: float) -> Store:
    """The tables of a study file; waits `timeout` seconds for another process's lock.

    Raises StudyError when the file is missing, no study, damaged, or of a newer format.
    """
    check_there(path)
    with explaining(path):
        absolute = path.absolute()  # else SQLite has meanings of its own for :memory: and file:
        connection = sqlite3.connect(absolute, timeout=timeout, isolation_level=None)
        try:
            check(connection, path)
        except BaseException:
            connection.close()
            raise
    return Store(path, connection)


def check_there(path: Path) -> None:
    """Raises StudyError where there is no file."""
    if not path.is_file():
        raise StudyError(
            f"Expected a study file, but there is no file {path}: "
            "check the name, or make one with `lesion sweep`."
        )


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Raises StudyError for what is no study, of another format, or damaged."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION:
        raise _foreign(path)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in (*LATER, VERSION):
        remedy = "install a newer lesion to read it" if version > VERSION else "measure again"
        raise StudyError(
            f"Expected a study of format {VERSION}, but {path} is of format {version}: {remedy}."
        )
    _check_tables(connection, path, version)
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise damaged(path, verdict)
    connection.execute("BEGIN")  # so that no other process writes in between
    sealed = [] if "seals" in LATER.get(version, ()) else _sealed(connection)
    broken = seals.broken(connection, sealed)
    connection.execute("COMMIT")
    if broken:
        raise damaged(path, f"its table {broken} does not hold what was written")


def _check_tables(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """Raises StudyError for tables of another form, and for what would run by itself."""
    expected, present = _tables(), dict(connection.execute(TABLES))
    later = LATER.get(version, set())
    names = [name for name in expected if name in present or name not in later] + [*present]
    strange = next((name for name in names if expected.get(name) != present.get(name)), None)
    if strange is not None:
        raise damaged(path, f"{strange} in it is not as lesion makes it")


@cache
def _tables() -> dict[str, str]:
    """The statement behind each table and index."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(SCHEMA)
        return dict(connection.execute(TABLES))


def _sealed(connection: sqlite3.Connection) -> list[str]:
    """The tables of a file whose content is sealed."""
    present = dict(connection.execute(TABLES))
    tables = (name for name, sql in _tables().items() if sql.startswith("CREATE TABLE"))
    return [name for name in tables if name in present and name != "seals"]


def _renewed(connection: sqlite3.Connection) -> None:
    """Within a transaction: a study of before gets what studies have today."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != VERSION:
        present = dict(connection.execute(TABLES))
        for name in LATER[version] - present.keys():
            connection.execute(_tables()[name])
        seals.renew(connection, _sealed(connection))
        connection.execute(f"PRAGMA user_version = {VERSION}")


@contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Turn what SQLite and the system raise into a StudyError that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise _explained(path, error) from error
    except UnicodeDecodeError as error:  # in SQLite's own text about what is malformed
        raise damaged(path, "it has texts that are none") from error
    except OSError as error:
        raise StudyError(
            f"Expected to write {path}, but {error.strerror}: mend that, or choose another place."
        ) from error


def _explained(path: Path, error: sqlite3.Error) -> StudyError:
    text = str(error)
    if "not a database" in text:
        return _foreign(path)
    if "full" in text:
        return StudyError(
            f"Expected room to write {path}, but the disk is full: what was recorded before is "
            "kept; free some space and run the same command again, it goes on from there."
        )
    if "locked" in text:
        return StudyError(
            f"Expected to be alone in writing {path}, but another process holds its lock: "
            "wait for that process to end, then run the same command again."
        )
    if "readonly" in text or "unable to open" in text:
        return StudyError(
            f"Expected to open and write {path}, but that is not permitted ({text}): "
            "check the permissions of the file and its folder."
        )
    malformed = "malformed" in text or "decode" in text
    if isinstance(error, sqlite3.OperationalError) and not malformed:
        return StudyError(
            f"Expected to read and write {path}, but SQLite says “{text}”: what was recorded "
            "before is kept; check the disk and run the same command again."
        )
    return damaged(path, text)


def damaged(path: Path, why: str) -> StudyError:
    """The error for a study file that cannot be trusted."""
    return StudyError(
        f"Expected a whole study file, but {path} is damaged ({why}): "
        "restore a copy of it, or measure again into a new file."
    )


def _foreign(path: Path) -> StudyError:
    return StudyError(
        f"Expected a study file, but {path} is something else: "
        "give a file that `lesion sweep` has written."
    )
