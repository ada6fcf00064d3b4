"""Digests of what a study file's tables hold: what is read is what was written.

SQLite notices a damaged page only where its structure suffers, not where a number changes.  Rows of
a table that only grows have a seal each; of any other table there is one, of all its rows.
"""

import hashlib
from collections.abc import Iterable, Iterator
from sqlite3 import Connection
from typing import Any

TABLE = (
    "CREATE TABLE seals (name TEXT NOT NULL, row INTEGER NOT NULL, seal BLOB NOT NULL,"
    " PRIMARY KEY (name, row))"
)
GROWING = ("intact", "outcomes")
SIZE = 8  # bytes


def renew(connection: Connection, names: Iterable[str]) -> None:
    """Seals tables as they are now, and the rows that tables have grown by."""
    for name in names:
        first = -1
        if name in GROWING:
            (first,) = connection.execute(
                "SELECT coalesce(max(row), -1) FROM seals WHERE name = ?", (name,)
            ).fetchone()
        for row, seal in _seals(connection, name, first):
            if _known(connection, name, row) != seal:
                values = (name, row, seal)
                connection.execute("INSERT OR REPLACE INTO seals VALUES (?, ?, ?)", values)


def broken(connection: Connection, names: Iterable[str]) -> str:
    """The first table that is not as it was sealed, or ""."""
    for name in names:
        sealed = connection.execute("SELECT row, seal FROM seals WHERE name = ?", (name,))
        if dict(sealed) != dict(_seals(connection, name)):
            return name
    return ""


def _known(connection: Connection, name: str, row: int) -> bytes | None:
    query = "SELECT seal FROM seals WHERE name = ? AND row = ?"
    known = connection.execute(query, (name, row)).fetchone()
    return None if known is None else bytes(known[0])


def _seals(connection: Connection, name: str, first: int = -1) -> Iterator[tuple[int, bytes]]:
    """The seals of a table's rows beyond the first ones, or under 0 that of all of them."""
    query = f"SELECT rowid, * FROM {name} WHERE rowid > ? ORDER BY rowid"
    rows = connection.execute(query, (first,))
    if name in GROWING:
        yield from ((row[0], _digest([row])) for row in rows)
    else:
        yield 0, _digest(rows)


def _digest(rows: Iterable[tuple[Any, ...]]) -> bytes:
    """Of rows of numbers, texts and bytes, each value with its length."""
    digest = hashlib.blake2b(digest_size=SIZE)
    for row in rows:
        for value in row:
            content = value if isinstance(value, bytes) else repr(value).encode()
            digest.update(b"%d:" % len(content))
            digest.update(content)
    return digest.digest()
