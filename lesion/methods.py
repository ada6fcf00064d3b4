"""Methods of records that are functions of packages behind them, found when they are used."""

from collections.abc import Callable
from importlib import import_module
from types import MethodType
from typing import Any


class Bound:
    """A function whose first argument is the record that it is called on: `study.curves()` is
    `lesion.curves(study)`, with the same options, help and errors.

    A record lies in front of what reads it, in the order of imports, and most who have one call
    none of these: so the function is looked for by its name when it is asked for.

    name: the function's; module: where it is, by default the package's public face
    """

    def __init__(self, name: str, module: str = "lesion") -> None:
        self.name, self.module = name, module

    def __get__(self, record: Any, kind: type[Any] | None = None) -> Callable[..., Any]:
        """The method of a record; the function itself where a class is asked."""
        function: Callable[..., Any] = getattr(import_module(self.module), self.name)
        return function if record is None else MethodType(function, record)
