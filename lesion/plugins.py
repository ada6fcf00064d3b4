"""What can be added: modules of a folder, found by name, and entry points of other packages."""

import importlib
import pkgutil
import sys
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from lesion.errors import LesionError, first_line


@dataclass(frozen=True)
class Plugins:
    """One kind of them.

    package: whose modules are the built-in ones
    group: of the entry points of other packages
    kind: what one is called, with its article; wanted: the attribute of a module that it is, ""
        for the module itself
    dash: what stands in names for the underscore of modules
    """

    package: str
    group: str
    kind: str
    wanted: str = ""
    dash: str = "_"

    def names(self) -> list[str]:
        """Those there are."""
        return sorted({*self._built_in(), *(point.name for point in self._points())})

    def load(self, name: str) -> Any:
        """One by its name. Raises LesionError where there is none, or it cannot be loaded."""
        if name in self._built_in():
            return self._of(
                importlib.import_module(f"{self.package}.{name.replace(self.dash, '_')}")
            )
        for point in self._points():
            if point.name == name:
                return self._loaded(point)
        close = get_close_matches(name.lower(), self.names(), 1)
        hint = f"did you mean {close[0]}?" if close else "choose one of them."
        raise LesionError(f"Expected {self.kind} ({', '.join(self.names())}), got '{name}'; {hint}")

    def _built_in(self) -> list[str]:
        path = sys.modules[self.package].__path__
        return [module.name.replace("_", self.dash) for module in pkgutil.iter_modules(path)]

    def _of(self, loaded: Any) -> Any:
        module = self.wanted and isinstance(loaded, ModuleType)
        return getattr(loaded, self.wanted) if module else loaded

    def _points(self) -> list[EntryPoint]:
        return list(entry_points(group=self.group))

    def _loaded(self, point: EntryPoint) -> Any:
        try:
            return self._of(point.load())
        except Exception as error:  # another's package may fail in any way
            _, _, kind = self.kind.partition(" ")
            raise LesionError(
                f"Expected the {kind} {point.name} of {point.value} to load, but it fails "
                f"({type(error).__name__}: {first_line(error)}); install or mend that package."
            ) from error
