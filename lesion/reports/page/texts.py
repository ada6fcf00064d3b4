"""Texts of a study as a page keeps them: each once, and harmless."""

from lesion.harmless import line


class Texts:
    """A table of texts, in which what others name by number is kept once.

    What cannot be seen in a text, such as marks that turn its direction, is written as its escape.

    >>> texts = Texts()
    >>> texts.add("a"), texts.add("b\\x1b"), texts.add("a"), texts.all
    (0, 1, 0, ['a', 'b\\\\u001b'])
    """

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def add(self, text: str) -> int:
        """The number of a text, which is in the table from now on."""
        return self._places.setdefault(line(text), len(self._places))

    @property
    def all(self) -> list[str]:
        """The texts by number."""
        return list(self._places)


def rounded(value: float | None, digits: int = 4) -> float | None:
    """A number with as many decimals as a page can show; None for none and NaN.

    >>> rounded(0.123456), rounded(float("nan"))
    (0.1235, None)
    """
    return None if value is None or value != value else round(float(value), digits) + 0.0
