"""The file under a study: opening it, its tables, and what SQLite's complaints mean for a user."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lesion.errors import StudyError

APPLICATION = 0x4C45534E  # "LESN", in bytes 68-71 of the file
VERSION = 1
SCHEMA = """
CREATE TABLE header (content BLOB NOT NULL);
CREATE TABLE lesions (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, target TEXT NOT NULL, kind TEXT NOT NULL,
    criterion TEXT NOT NULL, amount REAL NOT NULL, pruned INTEGER NOT NULL,
    channels INTEGER NOT NULL, damage TEXT NOT NULL, rounding TEXT NOT NULL,
    seed INTEGER NOT NULL, failed TEXT NOT NULL DEFAULT '');
CREATE TABLE skipped (
    target TEXT NOT NULL, kind TEXT NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (target, kind, reason));
CREATE TABLE scores (
    target TEXT NOT NULL, kind TEXT NOT NULL, criterion TEXT NOT NULL, seed INTEGER NOT NULL,
    content BLOB NOT NULL, PRIMARY KEY (target, kind, criterion, seed));
CREATE TABLE intact (
    chunk INTEGER PRIMARY KEY, digest TEXT NOT NULL, images INTEGER NOT NULL,
    top1 BLOB NOT NULL, top5 BLOB NOT NULL, agreement BLOB NOT NULL, loss REAL,
    label BLOB NOT NULL, prediction BLOB NOT NULL, margin BLOB NOT NULL);
CREATE TABLE outcomes (
    lesion INTEGER NOT NULL REFERENCES lesions (id), chunk INTEGER NOT NULL,
    images INTEGER NOT NULL, top1 BLOB NOT NULL, top5 BLOB NOT NULL, agreement BLOB NOT NULL,
    loss REAL, PRIMARY KEY (lesion, chunk)) WITHOUT ROWID;
"""


def create(path: Path, content: bytes) -> None:
    """Write a new study file that holds a header and nothing else; it appears whole or not at all.

    Raises StudyError where there is a file already, or no place for one.
    """
    if path.exists():
        raise StudyError(
            f"Expected a new file for the study, but {path} exists: open it, or give another name."
        )
    fresh = path.with_name(path.name + ".new")
    with told(path), suppress(FileNotFoundError):
        fresh.unlink()
    with told(path):
        connection = sqlite3.connect(fresh, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = MEMORY")  # no journal to be left behind
            connection.executescript(f"BEGIN; {SCHEMA}")
            connection.execute("INSERT INTO header VALUES (?)", (content,))
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
        finally:
            connection.close()
        os.replace(fresh, path)


def connect(path: Path, timeout: float) -> sqlite3.Connection:
    """A connection to a study file; waits `timeout` seconds for another process's lock.

    Raises StudyError when the file is missing, no study, damaged, or of a newer format.
    """
    if not path.is_file():
        raise StudyError(
            f"Expected a study file, but there is no file {path}: "
            "check the name, or make one with `lesion sweep`."
        )
    with told(path):
        connection = sqlite3.connect(path, timeout=timeout, isolation_level=None)
        try:
            _check(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION:
        raise _foreign(path)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise StudyError(
            f"Expected a study of format {VERSION} or older, but {path} is of format {version}: "
            "install a newer lesion to read it."
        )
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise damaged(path, verdict)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what SQLite and the system raise into a StudyError that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise _explained(path, error) from error
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
            f"Expected room to write {path}, but the disk is full: every chunk recorded before is "
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
    if isinstance(error, sqlite3.OperationalError) and "malformed" not in text:
        return StudyError(
            f"Expected to read and write {path}, but SQLite says “{text}”: every chunk recorded "
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
