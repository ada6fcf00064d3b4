"""Names and texts of others, made harmless for what shows them.

Layers, classes, units and files may be called anything: control characters steer a terminal, marks
of direction turn what is read, an equals sign makes a formula of a cell, brackets a link.
"""

import hashlib
import re
import unicodedata

WIDEST = 80  # letters of a name in a table or figure
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def line(text: str) -> str:
    r"""A text in one line, in which what cannot be seen is written as its escape.

    >>> print(line("a\nb \x1b[31mc\u202e"))
    a\nb \u001b[31mc\u202e
    """
    return text if text.isprintable() else "".join(map(_seen, text))


def lines(text: str) -> str:
    r"""The same of each line of a text, in which tabs stay.  JSON stays JSON.

    >>> print(lines("a\r\nb\x07"))
    a\r
    b\u0007
    """
    return re.sub(r"[^\n\t]+", lambda part: line(part[0]), text)


def name(text: str) -> str:
    """A name in one line of a table; a very long one is cut, its digest telling it from others."""
    text = line(text)
    if len(text) <= WIDEST:
        return text
    digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:6]
    half = (WIDEST - len(digest) - 2) // 2
    return f"{text[:half]}…{digest}…{text[-half:]}"


def cell(value: object) -> object:
    """What stands in a cell of a CSV file: a text is never a formula (OWASP: CSV injection).

    >>> cell("=1+1"), cell("layer1.0"), cell(-0.5)
    ("'=1+1", 'layer1.0', -0.5)
    """
    if not isinstance(value, str):
        return value
    return line(f"'{value}" if value.startswith(FORMULA) else value)


def markdown(text: str) -> str:
    r"""A text that Markdown shows as it is: no link, image, tag, entity, formula or new cell.

    >>> print(markdown("![x](https://a.b) <b> a|b_c"))
    !\[x\](https\://a.b) \<b> a\|b\_c
    """
    text = re.sub(r"([\\|*_`<\[\]&~$])", r"\\\1", line(text))
    return re.sub(r"(?i)\b(www)\.", r"\1\\.", text.replace("://", r"\://"))


def figure(text: str) -> str:
    r"""A text that matplotlib writes as it is, into any kind of file: dollars begin no formula.

    >>> print(figure("a$b$\x00"))
    a\$b\$\u0000
    """
    return line(text).replace("$", r"\$")


def _seen(sign: str) -> str:
    if sign.isprintable() or unicodedata.category(sign) == "Zs":
        return sign
    return sign.encode("unicode_escape").decode().replace("\\x", "\\u00")
