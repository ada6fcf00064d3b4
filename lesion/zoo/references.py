"""Python objects by name: FILE.py:FACTORY and PACKAGE.MODULE:FACTORY."""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn
from torch.utils.data import DataLoader, Dataset

from lesion.errors import SubjectError

FORMS = "FILE.py:NAME or PACKAGE.MODULE:NAME"


def found(reference: str, forms: str = FORMS) -> Any:
    """The object that `reference` names.

    The part before the last colon is a Python file or a module that can be imported (also from
    the current folder), the part after it the object's name.
    forms: what can be given in its place
    """
    where, _, name = reference.rpartition(":")
    if where.endswith(".py"):
        module = _from_file(Path(where))
    else:
        module = _from_package(where, f"Expected {forms}, got '{reference}'")
    if not hasattr(module, name):
        public = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        raise SubjectError(
            f"Expected a function '{name}' in {where}, found {', '.join(public) or 'none'}; "
            "check the name after the colon."
        )
    return getattr(module, name)


def made(factory: Any, reference: str) -> Any:
    """What a function or class makes, called without arguments; anything else is made already."""
    if isinstance(factory, (nn.Module, Dataset, DataLoader)) or not callable(factory):
        return factory
    try:
        return factory()
    except Exception as error:  # the function is the user's: it may raise anything
        raise SubjectError(
            f"Expected {reference} to be callable without arguments, but it raised "
            f"{type(error).__name__}: {error}; mend the function."
        ) from error


def _from_file(path: Path) -> ModuleType:
    path = path.resolve()
    if not path.is_file():
        raise SubjectError(f"Expected a Python file at {path}, found none; check the path.")
    name = f"{path.stem}@{path.parent}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs, as import does: dataclasses look it up
    try:
        with _importable(path.parent):
            spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, Exception):
            raise _unimportable(str(path), error) from error
        raise
    return module


def _from_package(name: str, unknown: str) -> ModuleType:
    try:
        with _importable(Path.cwd()):
            return importlib.import_module(name)
    except Exception as error:  # the module is the user's: it may raise anything
        missing = isinstance(error, ModuleNotFoundError) and error.name
        if missing and f"{name}.".startswith(f"{missing}."):  # not another that it needs
            raise SubjectError(
                f"{unknown}, but {name} raised ModuleNotFoundError: {error}; check the name before "
                "the colon."
            ) from error
        raise _unimportable(name, error) from error


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Modules in `folder` can be imported; what was importable before still is."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _unimportable(name: str, error: Exception) -> SubjectError:
    return SubjectError(
        f"Expected a Python module that can be imported, but {name} raised "
        f"{type(error).__name__}: {error}; mend it or check the name."
    )
