"""A log as lines of JSON, added to a file: one for each message, told apart by "event"."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lesion.boundary.files import check_file
from lesion.sweeps.logs import plain


class Log:
    """Adds lines to a file; each is there as soon as it is told.

    event: "begin", "numbers", "row" (of a table) or "end"; time: seconds since 1970
    """

    def __init__(self, place: str) -> None:
        check_file(place)
        self.path = Path(place)

    def begin(self, about: Mapping[str, str | float]) -> None:
        """One line with all of it."""
        self._line("begin", about)

    def numbers(self, numbers: Mapping[str, float], at: int, axis: str) -> None:
        """One line: the axis with the place on it, and the numbers."""
        self._line("numbers", {axis: at, **numbers})

    def table(self, name: str, rows: pd.DataFrame) -> None:
        """One line a row."""
        for row in rows.to_dict("records"):
            self._line("row", {"table": name, **row})

    def end(self, whole: bool) -> None:
        """The last line."""
        self._line("end", {"whole": whole})

    def _line(self, event: str, values: Mapping[Any, Any]) -> None:
        known = {str(name): plain(value) for name, value in values.items()}
        text = json.dumps({"event": event, "time": round(time.time(), 3), **known})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
