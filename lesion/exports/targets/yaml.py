"""YAML: what the JSON holds, for people and for tools that are configured by YAML."""

import json
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite, isnan
from typing import Any

from lesion.exports.targets import Handover

SUFFIX = ".yaml"


def content(given: Handover) -> str:
    """The rates as YAML in blocks, lists of numbers in one line."""
    return "\n".join(_mapping(given.allocation.to_dict(), "")) + "\n"


def _mapping(values: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, value in values.items():
        yield from _entry(f"{indent}{_scalar(str(name))}:", value, indent + "  ")


def _entry(head: str, value: Any, indent: str) -> Iterator[str]:
    """A head such as "name:" with its value behind it, or below it further in."""
    if isinstance(value, Mapping) and value:
        yield head
        yield from _mapping(value, indent)
    elif isinstance(value, (list, tuple)) and any(isinstance(item, Mapping) for item in value):
        yield head
        for item in value:
            first, *rest = _mapping(item, indent + "  ")
            yield f"{indent}- {first.lstrip()}"
            yield from rest
    else:
        yield f"{head} {_scalar(value)}"


def _scalar(value: Any) -> str:
    """A value in one line.

    >>> _scalar("layer1.0"), _scalar("no"), _scalar(1e-05), _scalar((1, 2)), _scalar(None)
    ('layer1.0', '"no"', '1.0e-05', '[1, 2]', 'null')
    """
    if isinstance(value, str):
        return value if _plain(value) else _quoted(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, Sequence):
        return f"[{', '.join(map(_scalar, value))}]"
    return json.dumps(value)


def _quoted(text: str) -> str:
    r"""A text in double quotes, as in JSON; what cannot be printed is escaped as YAML asks.

    >>> print(_quoted('a tab\t and "quotes"'))
    "a tab\t and \"quotes\""
    """
    signs = json.dumps(text, ensure_ascii=False)
    return "".join(sign if sign.isprintable() else f"\\U{ord(sign):08x}" for sign in signs)


def _plain(text: str) -> bool:
    """Whether a text needs no quotes: a dotted name that no reader takes for another thing."""
    letters = text.replace(".", "").replace("_", "")
    words = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
    return letters.isalnum() and text[0].isalpha() and text.isascii() and text.lower() not in words


def _number(value: float) -> str:
    if not isfinite(value):
        return ".nan" if isnan(value) else ".inf" if value > 0 else "-.inf"
    text = repr(float(value))
    return text.replace("e", ".0e") if "e" in text and "." not in text else text
