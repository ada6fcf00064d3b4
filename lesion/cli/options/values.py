"""What options that are one of several words may be."""

from enum import Enum

import typer


def per_cent(text: str | float) -> float:
    """A number of percentage points, or of per cent, with its sign or without.

    >>> per_cent("1"), per_cent("0.5 %"), per_cent("95%")
    (1.0, 0.5, 95.0)
    """
    try:
        return float(str(text).rstrip("% "))
    except ValueError:
        raise typer.BadParameter(f"'{text}' is no number; give one such as 1 or 0.5") from None


class Format(str, Enum):
    """How a table is printed."""

    table = "table"
    csv = "csv"
    json = "json"


class Units(str, Enum):
    """What is cut."""

    free = "free"
    all = "all"


class Order(str, Enum):
    """Which images a lesion sees first."""

    margin = "margin"
    uniform = "uniform"


class By(str, Enum):
    """What a joint drop is predicted by."""

    margins = "margins"
    drops = "drops"


class Per(str, Enum):
    """What has a rate of its own."""

    unit = "unit"
    layer = "layer"
    stage = "stage"


class Estimand(str, Enum):
    """What a drop is of."""

    set = "set"
    population = "population"


class Guarantee(str, Enum):
    """What the confidence is of."""

    study = "study"
    layer = "layer"


class Rounding(str, Enum):
    """How the number of filters that stay is rounded."""

    floor_kept = "floor-kept"
    nearest = "nearest"
