"""What a study's file holds at one moment, for who looks on while another process writes it."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from lesion.errors import StudyError
from lesion.study.database import Store, check, check_there, explaining

PAUSE = 0.05  # seconds between two attempts while the writer has its lock


def copied(path: Path, timeout: float) -> Store:
    """The tables of a study file in memory, as they are between two of a writer's transactions.

    The file is opened to be read, and its lock is held for one copy of its pages alone, whatever
    is asked of them afterwards.  Raises StudyError where there is no study, or the writer's lock is
    not free within `timeout` seconds.
    """
    check_there(path)
    end = time.monotonic() + timeout

    def in_time(*_: int) -> None:
        if time.monotonic() > end:
            raise StudyError(
                f"Expected to read {path}, but another process holds its lock: try again later."
            )

    with explaining(path):
        memory = sqlite3.connect(":memory:", isolation_level=None)
        try:
            address = f"{path.absolute().as_uri()}?mode=ro"
            with closing(sqlite3.connect(address, uri=True, timeout=PAUSE)) as file:
                file.backup(memory, progress=in_time, sleep=PAUSE)
            check(memory, path)
        except BaseException:
            memory.close()
            raise
    return Store(path, memory)
