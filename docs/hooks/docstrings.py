"""Docstrings as Markdown: examples become code, lines that explain a name become lists."""

import re
from typing import Any

from griffe import Extension, Object

NAMES = re.compile(r"[a-z_]\w*(, [a-z_]\w*)*: ")


class AsMarkdown(Extension):
    """Changes every docstring before it is shown."""

    def on_object(self, *, obj: Object, **given: Any) -> None:
        """Called by griffe for each module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(text: str) -> str:
    """The paragraphs of a docstring, each as what it is."""
    return "\n\n".join(map(_paragraph, re.split(r"\n\s*\n", text)))


def _paragraph(text: str) -> str:
    lines = text.splitlines()
    if lines[0].startswith(">>>"):
        return "\n".join(["```pycon", *lines, "```"])
    if all(NAMES.match(line) or line.startswith("    ") for line in lines):
        return "\n".join(_item(line) for line in lines)
    return text


def _item(line: str) -> str:
    """A name and what it means as an entry of a list; further lines belong to it."""
    if line.startswith(" "):
        return line
    names, meaning = line.split(": ", 1)
    return f"- `{names}`: {meaning}"
