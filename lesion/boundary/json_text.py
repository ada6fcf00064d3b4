"""Values as JSON for people and programs: no NaN, and lists of numbers on one line."""

import json
import re
from collections.abc import Mapping
from math import isnan
from typing import Any

COLUMN = re.compile(r"\[\n([-+.,\deE\s]+)\n\s*\]")  # no text of JSON holds an end of line


def as_json(values: Any) -> str:
    """Values as JSON, which knows no NaN: null in its place. A list of numbers is one line.

    >>> print(as_json({"kept": [0, 2, 5]}))
    {
      "kept": [0, 2, 5]
    }
    """
    tall = json.dumps(_known(values), indent=2)
    return COLUMN.sub(lambda column: f"[{' '.join(column[1].split())}]", tall)


def _known(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _known(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_known(part) for part in value]
    return None if isinstance(value, float) and isnan(value) else value
