"""Arguments of an operation by their names, wherever a call gives them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def argument(
    op: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], name: str
) -> Any:
    """What a call gives for an argument: its value, by default the operation's own, else None."""
    for place, parameter in enumerate(op._schema.arguments):  # type: ignore[attr-defined]
        if parameter.name == name:
            default = parameter.default_value if parameter.has_default_value() else None
            return args[place] if place < len(args) else kwargs.get(name, default)
    return None


def takes(op: Callable[..., Any], name: str) -> bool:
    """Whether an operation has an argument of this name."""
    schema = getattr(op, "_schema", None)
    return schema is not None and any(parameter.name == name for parameter in schema.arguments)
