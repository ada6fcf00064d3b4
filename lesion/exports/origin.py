"""What every export says of itself."""

from json import dumps
from typing import Any

from lesion.rates.allocation import Allocation


def about(allocation: Allocation) -> dict[str, Any]:
    """What every export says of itself, as JSON values."""
    return {
        "made_by": "lesion",
        "subject": dict(allocation.subject),
        "goal": allocation.goal,
        "criterion": allocation.criterion,
        "guarantee": allocation.guarantee,
    }


def texts(allocation: Allocation) -> dict[str, str]:
    """The same as texts, as the metadata of safetensors are."""
    return {
        name: value if isinstance(value, str) else dumps(value)
        for name, value in about(allocation).items()
    }
